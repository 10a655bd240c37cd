/** Rounds of one contender, with what the servers counted, and proof that the work was done. */
import { Console, Effect, type Scope } from "effect"
import { eventually } from "../../support/servers/Instance.ts"
import type { RedisServer } from "../../support/servers/RedisServers.ts"
import { add, type Counts, observe, type Observer } from "../observe.ts"
import { start, type Worker } from "../processes.ts"
import { alternating, type Setting } from "../scenario.ts"
import { sum } from "../statistics.ts"
import { type ContenderName, names } from "./contenders.ts"
import { expiryMillis, takenName, type Work } from "./work.ts"
import type { CostJobs, Round } from "./worker.ts"

/** One round of one contender. Counts are for one operation, over all nodes. */
export interface Sample extends Round {
  readonly cpu: number
  readonly perSecond: number
  readonly commands: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly serverCpu: number
}

export type Samples = Record<ContenderName, Array<Sample>>

/** A process for a contender, so that none runs on another's compiled code or pays for its garbage. */
export const open = (
  { profiles }: Setting,
  contender: ContenderName,
  urls: ReadonlyArray<string>,
  flags: ReadonlyArray<string> = []
): Effect.Effect<Worker<CostJobs>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const worker = yield* start<CostJobs>(
      new URL("./worker.ts", import.meta.url),
      [...flags, ...(profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`])]
    )
    yield* worker.ask("open", { contender, urls })
    return worker
  })

export interface Plan {
  readonly work: Work
  /** All, unless told otherwise. */
  readonly contenders?: ReadonlyArray<ContenderName>
  readonly flights: ReadonlyArray<number>
  readonly rounds: number
}

/** Many short rounds of everybody in turn, for each number in flight. */
export const compare = (
  setting: Setting,
  servers: ReadonlyArray<RedisServer>,
  { contenders = names, flights, rounds, work }: Plan
): Effect.Effect<Map<number, Samples>> =>
  Effect.scoped(Effect.gen(function*() {
    yield* Effect.forEach(servers, (server) => server.command("FLUSHALL"))
    const observers = yield* Effect.forEach(servers, observe)
    const workers = new Map<ContenderName, Worker<CostJobs>>()
    for (const name of contenders) {
      const worker = yield* open(setting, name, servers.map(({ url }) => url))
      yield* showsItsWork(name, worker, servers)
      workers.set(name, worker)
    }
    if (work === "refused") yield* takeForGood(servers)
    // Until the compiler has had its way with whoever has most code for it.
    const warmUp = { work, inFlight: 64, millis: setting.quick ? 30 : 5000 }
    for (const worker of workers.values()) yield* worker.ask("round", warmUp)

    const measured = new Map<number, Samples>()
    for (const inFlight of flights) {
      const millis = setting.quick ? 40 : 250
      const round = (name: ContenderName) => measure(name, workers.get(name)!, observers, { work, inFlight, millis })
      // The first of its kind does not count.
      if (!setting.quick) yield* alternating(contenders, 1, round)
      measured.set(inFlight, yield* alternating(contenders, setting.quick ? 1 : setting.rounds ?? rounds, round))
    }
    return measured
  }))

interface Measured {
  readonly work: Work
  readonly inFlight: number
  readonly millis: number
}

/**
 * One round in which all the work was done. Where the machine stands still for
 * seconds locks expire and commands time out: such a round is done again, twice at most.
 */
export const measure = (
  name: ContenderName,
  worker: Worker<CostJobs>,
  observers: ReadonlyArray<Observer>,
  options: Measured
): Effect.Effect<Sample> =>
  undisturbed(name, worker, observers, options).pipe(
    Effect.catchDefect((cause) =>
      Console.log(`A round of ${name} is done again: ${String(cause)}`).pipe(
        // Until what is left of it has expired.
        Effect.andThen(Effect.sleep(expiryMillis + 1000)),
        Effect.andThen(Effect.fail(cause))
      )
    ),
    Effect.retry({ times: 2 }),
    Effect.orDie
  )

const undisturbed = (
  name: ContenderName,
  worker: Worker<CostJobs>,
  observers: ReadonlyArray<Observer>,
  options: Measured
): Effect.Effect<Sample> =>
  Effect.gen(function*() {
    yield* Effect.forEach(observers, ({ look }) => look)
    const round = yield* worker.ask("round", options)
    const { operations } = round
    const expected = options.work === "lock and unlock" ? operations : 0
    const counts = yield* Effect.forEach(observers, (observer) => countsOf(name, observer, expected))
    const ofOthers = options.work === "refused" ? takenKeys.length * observers.length : 0
    yield* untilKeysAre(ofOthers, Effect.map(Effect.forEach(observers, ({ keys }) => keys), sum), `what ${name} took`)
    return {
      ...round,
      cpu: round.cpuMicros / operations,
      perSecond: operations / round.millis * 1000,
      commands: sum(counts.flatMap(({ calls }) => [...calls.values()])) / operations,
      bytesIn: sum(counts.map(({ bytesIn }) => bytesIn)) / operations,
      bytesOut: sum(counts.map(({ bytesOut }) => bytesOut)) / operations,
      serverCpu: sum(counts.map(({ cpuMicros }) => cpuMicros)) / operations
    }
  })

/** Counts once all the keys have been set and deleted: nobody waits for the last node. */
const countsOf = (name: ContenderName, { look }: Observer, locks: number): Effect.Effect<Counts> =>
  Effect.gen(function*() {
    let counts = yield* look
    const has = (command: string) => counts.calls.get(command) ?? 0
    for (let waits = 0; has("set") < locks || has("del") < locks || counts.expiredKeys > 0; waits++) {
      if (waits === 100) {
        return yield* undone(
          `${name} took ${locks} locks with ${has("set")} SET and ${has("del")} DEL; ${counts.expiredKeys} keys expired`
        )
      }
      yield* Effect.sleep("20 millis")
      counts = add(counts, yield* look)
    }
    return counts
  })

/** Deletes that nobody waits for may take a little longer than the operation. */
const untilKeysAre = (count: number, keys: Effect.Effect<number>, whose: string): Effect.Effect<void> =>
  Effect.promise(() =>
    eventually(`${whose} is gone`, async () => {
      const left = await Effect.runPromise(keys)
      if (left !== count) throw new Error(`There are ${left - count} keys too many`)
    }, 2000)
  )

/** Ends the benchmark: who does less than the others cannot be compared with them. */
export const undone = (what: string): Effect.Effect<never> => Effect.die(new Error(what))

/** While it holds a lock every node has a key that expires in time, and afterwards none has any key. */
const showsItsWork = (
  name: ContenderName,
  worker: Worker<CostJobs>,
  servers: ReadonlyArray<RedisServer>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* worker.ask("hold", { locks: 1 })
    for (const server of servers) {
      const keys = yield* server.command<Array<string>>("KEYS", "*bench:*")
      const ttl = keys.length === 1 ? yield* server.command<number>("PTTL", keys[0]!) : -2
      if (ttl <= 0 || ttl > expiryMillis) {
        return yield* undone(`${name} holds a lock, and ${server.url} has "${keys.join(" ")}", time to live ${ttl} ms`)
      }
    }
    yield* worker.ask("leave")
    const left = Effect.forEach(servers, (server) => server.command<number>("DBSIZE"))
    yield* untilKeysAre(0, Effect.map(left, sum), `what ${name} held`)
  })

/** The key as everybody names it but redis-semaphore, and as that does. */
const takenKeys = [takenName, `mutex:${takenName}`]

const takeForGood = (servers: ReadonlyArray<RedisServer>) =>
  Effect.forEach(
    servers,
    (server) => Effect.forEach(takenKeys, (key) => server.command("SET", key, "another's", "PX", "3600000"))
  )
