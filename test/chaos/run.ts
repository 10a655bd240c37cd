/**
 * A chaos run: real servers, client processes with a network of their own to each
 * of them, faults by plan, and a verdict over what everybody wrote down.
 */
import { Context, Effect, Fiber, Layer, Scope, Semaphore } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { until } from "../support/faults.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { child } from "../support/trouble.ts"
import { judge, type Verdict } from "./checker.ts"
import type { ClientOptions, Fibers, Names } from "./client.ts"
import { type Client, perform, type World } from "./faults.ts"
import * as Link from "./link.ts"
import { type Event, now, reader, writer } from "./log.ts"
import { describe, type Fault, minorityOf, plan } from "./plan.ts"

export interface Options {
  readonly seed: string
  readonly millis: number
  readonly gapMillis: number
  readonly expiryMillis: number
  readonly clients: number
  readonly fibers: Fibers
  /** How many names there are of locks that are held for long, of those held for a moment, and of shared ones. */
  readonly names: { readonly long: number; readonly short: number; readonly shared: number }
  /** The limits of the semaphores. */
  readonly limits: ReadonlyArray<number>
  readonly delayedRestart: boolean
  readonly clientPauses: boolean
  readonly rollingRestarts: boolean
  /** Whether the nodes of every second client are over Effect's Redis service. */
  readonly effectRedis: boolean
  readonly say: (line: string) => void
}

export interface Outcome {
  readonly verdict: Verdict
  readonly events: ReadonlyArray<Event>
  readonly faults: ReadonlyArray<Fault>
  /** Where everything is written down. It is there until the scope closes, unless kept. */
  readonly log: string
  readonly keepLog: () => void
}

/** The first are without persistence, and come back empty. */
const withoutData = 3
const withData = 2
const count = withoutData + withData

const appendOnly = ["--appendonly", "yes", "--appendfsync", "always"]

/** A server's word on how long it has been up can be two seconds behind. */
const abstainMillis = (expiryMillis: number) => expiryMillis + 2000

export const run = (options: Options): Effect.Effect<Outcome, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { expiryMillis, millis, say } = options
    const faults = yield* plan({
      ...options,
      nodes: count,
      rolling: options.rollingRestarts ? Array.from({ length: withoutData }, (_, index) => index) : [],
      // Also where they do not: one and the same seed makes the same faults either way.
      abstainMillis: abstainMillis(expiryMillis)
    })
    const log = yield* logFile
    const events: Array<Event> = []
    const entries = yield* Effect.acquireRelease(Effect.sync(() => reader(log.path)), ({ close }) => Effect.sync(close))
    const read = () => {
      for (const event of entries.next()) events.push(event)
    }
    const world = yield* makeWorld(options, log.path)
    yield* until(
      "every client has had a lock",
      Effect.sync(() => {
        read()
        return new Set(events.flatMap((event) => event.kind === "entered" ? [event.process] : [])).size ===
          options.clients
      })
    )
    const progress = yield* Effect.forkScoped(Effect.forever(Effect.andThen(
      Effect.sleep("5 seconds"),
      Effect.sync(() => {
        read()
        say(progressLine(events))
      })
    )))
    yield* performAll(world, faults, millis, say)
    yield* untilServed(options, () => {
      read()
      return events
    })
    yield* Fiber.interrupt(progress)
    yield* Effect.forEach(world.clients, ({ child }) => Effect.andThen(child.tell("end"), child.exited), {
      concurrency: "unbounded"
    }).pipe(Effect.timeout("20 seconds"), Effect.catch(() => Effect.die(new Error("The clients do not end when told"))))
    read()
    return { verdict: judge(events), events, faults, log: log.path, keepLog: log.keep }
  })

const logFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const directory = mkdtempSync(join(tmpdir(), "effect-redsync-chaos-"))
      const self = { path: join(directory, "log.jsonl"), directory, kept: false }
      return self
    }),
    ({ directory, kept }) => Effect.sync(() => kept || rmSync(directory, { recursive: true, force: true }))
  ),
  (self) => ({
    path: self.path,
    keep: () => {
      self.kept = true
    }
  })
)

const makeWorld = Effect.fnUntraced(function*(options: Options, log: string) {
  const [empty, lasting] = yield* Effect.all([
    Layer.build(RedisServers.layer(withoutData)),
    Layer.build(RedisServers.layer(withData, { args: appendOnly }))
  ])
  const servers = [...Context.get(empty, RedisServers), ...Context.get(lasting, RedisServers)]
  const links = yield* Effect.forEach(
    Array.from({ length: options.clients }),
    () => Effect.forEach(servers, Link.make)
  )
  const named = (kind: "long" | "short" | "shared") =>
    Array.from({ length: options.names[kind] }, (_, index) => `chaos:${kind}:${index}`)
  const names: Names = {
    long: named("long"),
    short: named("short"),
    shared: named("shared"),
    permits: options.limits.map((limit, index) => [`chaos:permits:${index}`, limit] as const)
  }
  const scope = yield* Effect.scope
  let processes = 0
  const clients: Array<Client> = []
  const startClient = (index: number): Effect.Effect<Client> =>
    Effect.suspend(() => {
      const process = ++processes
      const { delayedRestart, expiryMillis, fibers } = options
      const nodes = links[index]!.map(({ url }) => url)
      const effectRedis = options.effectRedis && process % 2 === 1
      const settings: ClientOptions = { process, log, nodes, names, fibers, expiryMillis, delayedRestart, effectRedis }
      const started = child(new URL("client.ts", import.meta.url), settings)
      return Effect.map(Effect.provideService(started, Scope.Scope, scope), (child) => ({ process, child }))
    })
  for (let index = 0; index < options.clients; index++) clients.push(yield* startClient(index))
  return { servers, links, clients, startClient, write: writer(log) } satisfies World
})

/** All faults at their time, or as soon as there is room for them because those before took longer than planned. */
const performAll = Effect.fnUntraced(function*(
  world: World,
  faults: ReadonlyArray<Fault>,
  millis: number,
  say: Options["say"]
) {
  const startedAt = now()
  const sleepUntil = (at: number) => Effect.sleep(Math.max(0, at - (now() - startedAt) / 1000))
  const minority = Semaphore.makeUnsafe(minorityOf(count))
  const nodes = world.servers.map(() => Semaphore.makeUnsafe(1))
  const clients = world.clients.map(() => Semaphore.makeUnsafe(1))
  const inItsRoom = (fault: Fault, performed: Effect.Effect<void>) => {
    if (fault.kind === "rolling restart") return minority.withPermits(minorityOf(count))(performed)
    if (!("node" in fault)) return clients[fault.client]!.withPermit(performed)
    const alone = nodes[fault.node]!.withPermit(performed)
    return "recoveryMillis" in fault ? minority.withPermit(alone) : alone
  }
  const running: Array<Fiber.Fiber<void>> = []
  for (const fault of faults) {
    yield* sleepUntil(fault.at)
    const performed = Effect.suspend(() => {
      say(`${((now() - startedAt) / 1e6).toFixed(1).padStart(6)} s  ${describe(fault)}`)
      world.write({ kind: "fault", at: now(), fault: fault.kind })
      return Effect.andThen(perform(world, fault), Effect.sleep("recoveryMillis" in fault ? fault.recoveryMillis : 0))
    })
    running.push(yield* Effect.forkChild(inItsRoom(fault, performed)))
  }
  yield* sleepUntil(millis)
  yield* Effect.forEach(running, Fiber.join, { discard: true })
})

/** When all faults are over, everybody gets served again before long. */
const untilServed = (options: Options, read: () => ReadonlyArray<Event>) =>
  Effect.suspend(() => {
    const healedAt = now()
    return until(
      "every name has been acquired again after the faults",
      Effect.sync(() => {
        const names = new Set<string>()
        for (const event of read()) if (event.kind === "entered" && event.at > healedAt) names.add(event.name)
        const { long, shared, short } = options.names
        return names.size === long + short + shared + options.limits.length
      })
    )
  })

const progressLine = (events: ReadonlyArray<Event>): string => {
  const count = (kind: Event["kind"]) => events.reduce((sum, event) => event.kind === kind ? sum + 1 : sum, 0)
  return `          ${count("entered").toLocaleString("en")} acquisitions, ${count("fault")} faults, ` +
    `${count("failed")} calls failed`
}
