/**
 * An instance of a program in a process of its own: it stands for election, or runs a
 * job every second. Whatever it does it does to a resource, which is a server and
 * rejects writes with a smaller token than the largest it has seen.
 */
import { Clock, Cron, DateTime, Effect, Layer, Logger, Random } from "effect"
import { Redis } from "ioredis"
import { writeSync } from "node:fs"
import { createInterface } from "node:readline"
import { Leader, Redsync, withLock } from "../../../src/index.ts"

interface Options {
  readonly nodes: ReadonlyArray<string>
  readonly resource: string
  readonly id: string
  readonly does: "lead" | "cron"
  readonly expiry: number
  /** By how many milliseconds its clock is ahead. */
  readonly ahead: number
  readonly clockSkew: number
}

const { ahead, clockSkew, does, expiry, id, nodes, resource }: Options = JSON.parse(process.argv[2]!)

const say = (line: string) => writeSync(1, `${line}\n`)

const client = new Redis(resource).on("error", () => {})

const write = `
  local last = tonumber(redis.call("GET", "token") or "0")
  if tonumber(ARGV[1]) < last then return redis.call("RPUSH", "rejected", ARGV[1] .. " " .. ARGV[2]) end
  local time = redis.call("TIME")
  redis.call("SET", "token", ARGV[1])
  redis.call("RPUSH", "writes", ARGV[1] .. " " .. ARGV[2] .. " " .. time[1] * 1000 + math.floor(time[2] / 1000))`

const leader = Leader.singleton("leader", ({ token }) =>
  Effect.promise(() => client.eval(write, 0, token, id)).pipe(
    Effect.andThen(Effect.sleep("20 millis")),
    Effect.forever
  ), { expiry, nodeTimeout: "300 millis" })

const job = Leader.cron({
  name: "job",
  cron: Cron.parseUnsafe("* * * * * *", "UTC"),
  clockSkew,
  expiry,
  nodeTimeout: "300 millis",
  execute: Effect.gen(function*() {
    const run = `${DateTime.formatIso(yield* Leader.CurrentScheduledTime)} ${id}`
    yield* Effect.promise(() => client.rpush("starts", run))
    yield* Effect.sleep(yield* Random.nextIntBetween(100, 300))
    yield* Effect.promise(() => client.rpush("ends", run))
  })
})

const told = Effect.promise(() =>
  new Promise<void>((resolve) => void createInterface({ input: process.stdin }).on("line", () => resolve()))
)

const shifted = Effect.map(Clock.Clock, (clock): Clock.Clock => ({
  currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + ahead,
  currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + ahead),
  currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe() + BigInt(ahead) * 1_000_000n,
  currentTimeNanos: Effect.map(clock.currentTimeNanos, (now) => now + BigInt(ahead) * 1_000_000n),
  monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
  monotonicTimeNanos: clock.monotonicTimeNanos,
  sleep: (duration) => clock.sleep(duration)
}))

const main = Effect.gen(function*() {
  say("started")
  if (does === "lead") return yield* Effect.raceFirst(Layer.launch(leader), told)
  // All values of a service begin alike, which tells whose a claim is.
  yield* withLock(`instance ${id}`, ({ value }) => Effect.sync(() => say(`service ${value.slice(0, 12)}`)))
  const running = Effect.gen(function*() {
    yield* Layer.build(job)
    say(`since ${yield* Clock.currentTimeMillis}`)
    return yield* Effect.never
  })
  yield* Effect.raceFirst(Effect.scoped(running), told)
}).pipe(
  Effect.provide(Redsync.layer({ nodes })),
  Effect.provide(Logger.layer([Logger.make(({ message }) => say(String([message].flat()[0])))])),
  Effect.provideServiceEffect(Clock.Clock, shifted)
)

await Effect.runPromise(main)
say("closed")
process.exit(0)
