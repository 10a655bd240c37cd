/**
 * Assembles the command line and runs it.
 */
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import { ChildProcessSpawner, make as makeSpawner } from "effect/process/ChildProcessSpawner"
import * as Stdio from "effect/Stdio"
import * as Terminal from "effect/Terminal"
import manifest from "../../package.json" with { type: "json" }
import { completions } from "./completions.ts"
import { demo } from "./demo.ts"
import { doctor } from "./doctor.ts"
import { fail, Failure, wrongUsage } from "./failure.ts"
import { redsync } from "./nodes.ts"
import { asFailure, say, standardOutput, withoutPasswords } from "./output.ts"
import { run } from "./run.ts"
import { runMain, Signals, signals } from "./signals.ts"
import { status } from "./status.ts"
import { unlock } from "./unlock.ts"

/** Says in a line or two what is wrong, without printing the whole help. */
const presenter = CliOutput.layerPresenter({
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Effect.andThen(
        Effect.forEach(event.errors, ({ message }) => say(withoutPasswords(message.replaceAll(/\s+/g, " "))), {
          discard: true
        }),
        say(`see ${event.commandPath.join(" ")} --help`)
      )
      : CliOutput.defaultPresenter.present(event)
})

/**
 * What Effect's command line requires for flags that we do not have, and for questions that we ask in our own way:
 * `run` must not touch its command's input.
 */
const unused = Effect.die("unused")
const platform = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Stdio.layerTest({}),
  Layer.succeed(ChildProcessSpawner, makeSpawner(() => unused)),
  Layer.succeed(
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
)

const command = Command.withSubcommands(redsync, [
  run,
  status,
  unlock,
  doctor,
  demo,
  completions((): Command.Command.Any => command)
])

/** Node replaces invalid bytes with this: names that differ would then be one, and a command would get other arguments. */
const replacement = "\ufffd"

/** Runs the command given by the arguments, as the main program of the process. */
export const main = (args: ReadonlyArray<string>): void =>
  Effect.suspend(() =>
    [...args, process.env["REDSYNC_PREFIX"] ?? ""].some((text) => text.includes(replacement))
      ? fail(wrongUsage, "the arguments and REDSYNC_PREFIX must be UTF-8")
      : Command.runWith(command, { version: manifest.version })(args)
  ).pipe(
    asFailure,
    Effect.catchTag("ShowHelp", (_: CliError.ShowHelp) => Effect.fail(new Failure({ code: wrongUsage, message: "" }))),
    Effect.tapErrorTag("Failure", ({ message }) => message === "" ? Effect.void : say(message)),
    Effect.provide(Layer.mergeAll(
      platform,
      Layer.succeed(Signals, signals),
      CliConfig.layer({
        builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel]
      }),
      standardOutput,
      presenter
    )),
    runMain
  )
