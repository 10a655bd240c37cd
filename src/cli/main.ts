/**
 * The command line, put together and run.
 */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem"
import * as NodePath from "@effect/platform-node-shared/NodePath"
import * as NodeStdio from "@effect/platform-node-shared/NodeStdio"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ChildProcessSpawner, make as makeSpawner } from "effect/process/ChildProcessSpawner"
import * as Terminal from "effect/Terminal"
import { readFileSync } from "node:fs"
import { demo } from "./demo.ts"
import { doctor } from "./doctor.ts"
import { Failure, wrongUsage } from "./failure.ts"
import { redsync } from "./nodes.ts"
import { say, withoutPasswords } from "./output.ts"
import { run } from "./run.ts"
import { runMain, Signals, signals } from "./signals.ts"
import { status } from "./status.ts"
import { unlock } from "./unlock.ts"

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8")
)

/** In a line or two what is wrong, without all of the help. */
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.andThen(
        Effect.forEach(event.errors, ({ message }) => say(withoutPasswords(message)), { discard: true }),
        say(`see ${event.commandPath.join(" ")} --help`)
      )
      : CliOutput.defaultPresenter.present(event)
})

/** Nothing asks for it: the one question there is goes its own way, and what runs a command must not touch its input. */
const unused = Effect.die("unused")
const noTerminal = Layer.succeed(
  Terminal.Terminal,
  Terminal.make({
    columns: unused,
    rows: unused,
    size: unused,
    readInput: unused,
    readLine: unused,
    display: () => unused
  })
)

redsync.pipe(
  Command.withSubcommands([run, status, unlock, doctor, demo]),
  Command.run({ version }),
  Effect.catchTag("ShowHelp", (_: CliError.ShowHelp) => Effect.fail(new Failure({ code: wrongUsage, message: "" }))),
  Effect.tapErrorTag("Failure", ({ message }) => message === "" ? Effect.void : say(message)),
  Effect.provide(Layer.mergeAll(
    NodeFileSystem.layer,
    NodePath.layer,
    NodeStdio.layer,
    noTerminal,
    Layer.succeed(ChildProcessSpawner, makeSpawner(() => unused)),
    Layer.succeed(Signals, signals),
    CliConfig.layer({
      builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel]
    }),
    presenter
  )),
  runMain
)
