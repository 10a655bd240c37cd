/**
 * Holds a lock in a process of its own, says what it does, and when told to
 * keeps its event loop busy until the file of that name is there.
 */
import { Duration, Effect, Fiber, Logger, Option } from "effect"
import { Redis } from "ioredis"
import { existsSync, writeSync } from "node:fs"
import { createInterface } from "node:readline"
import { LockLost, Redsync, withLock } from "../../../src/index.ts"

interface Options {
  readonly nodes: ReadonlyArray<string>
  readonly name: string
  readonly expiry: number
  /** What the program is doing when the event loop is kept busy or the process stops. */
  readonly doing: keyof typeof programs
  /** The file that ends it. */
  readonly busyUntil: string
}

const options: Options = JSON.parse(process.argv[2]!)

/** At once: a stream would be written to when the event loop gets around to it. */
const say = (line: string) => writeSync(1, `${line}\n`)

const nobodyWakes = new Int32Array(new SharedArrayBuffer(4))

const beBusy = () => {
  say("busy")
  while (!existsSync(options.busyUntil)) Atomics.wait(nobodyWakes, 0, 0, 5)
  say("awake")
}

let told: () => void = () => {}
const isTold = new Promise<void>((resolve) => {
  told = resolve
})

const step = Effect.sync(() => say("step"))

let turns = 0

/** Each goes on for ever, with a line for every step. */
const programs = {
  /** It is itself what keeps the event loop busy, in its very first step. */
  starting: Effect.sync(beBusy),
  /** The same later on. */
  computing: Effect.andThen(Effect.promise(() => isTold), Effect.sync(beBusy)),
  sleeping: Effect.asVoid(Effect.forever(Effect.andThen(Effect.sleep("10 millis"), step))),
  asking: Effect.acquireUseRelease(
    Effect.sync(() => new Redis(options.nodes[0]!).on("error", () => {})),
    // An answer every 20 ms.
    (client) => Effect.asVoid(Effect.forever(Effect.andThen(Effect.promise(() => client.blpop("none", 0.02)), step))),
    (client) => Effect.sync(() => client.disconnect())
  ),
  yielding: Effect.asVoid(Effect.forever(Effect.andThen(
    Effect.yieldNow,
    Effect.sync(() => {
      turns++
      if (turns % 1000 === 0) say("step")
    })
  ))),
  delegating: Effect.flatMap(
    Effect.forkChild(Effect.forever(Effect.andThen(Effect.sleep("10 millis"), step))),
    (fiber) => Effect.asVoid(Fiber.join(fiber))
  )
}

createInterface({ input: process.stdin }).on("line", () => {
  told()
  if (options.doing !== "starting" && options.doing !== "computing") beBusy()
})

const main = withLock(options.name, ({ remaining }) =>
  Effect.gen(function*() {
    say("held")
    yield* programs[options.doing]
    // Those that compute come here when they wake.
    yield* step
    yield* Effect.promise(async () => say("asynchronous step"))
    say(`outlived, with ${Duration.toMillis(yield* remaining)} ms left`)
  })).pipe(
    Effect.match({
      onFailure: (error) => say(error instanceof LockLost ? `lost: ${error.reason}` : `failed: ${error.message}`),
      onSuccess: () => say("succeeded")
    }),
    Effect.onInterrupt(() => Effect.sync(() => say("interrupted"))),
    Effect.provide(Redsync.layer({ nodes: options.nodes, expiry: options.expiry, nodeTimeout: "300 millis" })),
    // Only what it says itself goes to the standard output.
    Effect.provide(Logger.layer([])),
    Effect.timeoutOption("60 seconds")
  )

const outcome = await Effect.runPromise(main)
say(Option.isSome(outcome) ? "closed" : "never ended")
process.exit(0)
