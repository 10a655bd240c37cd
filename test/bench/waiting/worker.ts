/**
 * A process of a benchmark. It does what the parent asks for, one message a job,
 * and measures on the clock that all processes share.
 */
import { type Context, Deferred, Duration, Effect, Fiber, Layer, Scope, Semaphore } from "effect"
import { Redis } from "ioredis"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { lock, Redsync, withFencedLock, withLock } from "../../../src/index.ts"
import { now } from "../clock.ts"
import { serve } from "../serve.ts"
import type { Turn } from "../statistics.ts"
import { type Client, type ContenderName, contenders } from "./contenders.ts"

const scope = Scope.makeUnsafe()
let clients: ReadonlyArray<Client> = []
let urls: ReadonlyArray<string> = []

// Counted where they leave: the servers' own statistics mix them with those that scripts run.
let sent = 0
// oxlint-disable-next-line typescript/unbound-method -- called on the client it was called on
const sendCommand = Redis.prototype.sendCommand
// By a method, as the original is: a function in its place looks like a tool that wants to see whole commands.
Object.assign(Redis.prototype, {
  sendCommand(this: Redis, ...args: Parameters<typeof sendCommand>) {
    sent++
    return sendCommand.apply(this, args)
  }
})

/** Opens so many clients of one contender, each with connections of its own. */
const open = (options: {
  readonly contender: ContenderName
  readonly urls: ReadonlyArray<string>
  readonly clients: number
}) =>
  Effect.gen(function*() {
    urls = options.urls
    const make = contenders[options.contender](urls)
    clients = yield* Effect.forEach(Array.from({ length: options.clients }), () => Scope.provide(make, scope))
  })

// -----------------------------------------------------------------------------
// hand-over
// -----------------------------------------------------------------------------

let leave = Deferred.makeUnsafe<void>()
let turn: { readonly asked: number; acquired: number; left: number } | undefined
let ended: Promise<unknown> = Promise.resolve()

/** Asks for the lock, and answers once it has it. It is kept until `give`. */
const take = ({ name }: { readonly name: string }) =>
  Effect.promise(() =>
    new Promise<{ readonly asked: number; readonly acquired: number }>((resolve) => {
      const mine = turn = { asked: now(), acquired: Number.NaN, left: Number.NaN }
      leave = Deferred.makeUnsafe<void>()
      const program = Effect.gen(function*() {
        mine.acquired = now()
        resolve(mine)
        yield* Deferred.await(leave)
        mine.left = now()
      })
      ended = Effect.runPromise(clients[0]!.withLock(name, program))
    })
  )

/** Leaves, and answers once the lock is released. */
const give = Effect.promise(async () => {
  Deferred.doneUnsafe(leave, Effect.void)
  await ended
  return turn!.left
})

let plain: Redis | undefined

/**
 * The other work between two turns: one plain command each on a connection of
 * their own, after being idle for as long as who waits is before it is woken.
 */
const roundTrips = ({ restMillis, server }: { readonly restMillis: number; readonly server: number }) =>
  Effect.gen(function*() {
    const client = plain ??= new Redis(urls[server]!)
    const timed = (send: () => Promise<unknown>) =>
      Effect.andThen(
        Effect.sleep(restMillis / 2),
        Effect.promise(async () => {
          const before = now()
          await send()
          return now() - before
        })
      )
    const ping = yield* timed(() => client.ping())
    const set = yield* timed(() => client.set("round trip", "value", "PX", 1, "NX"))
    return { ping, set }
  })

// -----------------------------------------------------------------------------
// crowds
// -----------------------------------------------------------------------------

export interface CrowdOptions {
  readonly name: string
  readonly heldMillis: number
  readonly restMillis: number
  /** What comes before `from` is warming up. */
  readonly from: number
  readonly until: number
  /** So many fibers of each client, where not one. */
  readonly fibers?: number
}

/**
 * Every client takes its turns until time is up. Those who still wait then are
 * in the answer as well; they go on until the parent ends the process.
 */
const crowd = ({ fibers = 1, from, heldMillis, name, restMillis, until }: CrowdOptions) =>
  Effect.gen(function*() {
    const turns: Array<Turn> = []
    const waiting = new Map<number, number>()
    const contend = (client: Client, contender: number) =>
      Effect.gen(function*() {
        yield* Effect.sleep(Math.random() * restMillis)
        while (true) {
          const asked = now()
          waiting.set(contender, asked)
          yield* client.withLock(
            name,
            Effect.gen(function*() {
              const acquired = now()
              waiting.delete(contender)
              yield* heldMillis > 0 ? Effect.sleep(heldMillis) : Effect.yieldNow
              turns.push({ contender, asked, acquired, left: now() })
            })
          )
          yield* Effect.sleep(restMillis)
        }
      })
    for (let contender = 0; contender < clients.length * fibers; contender++) {
      Effect.runFork(contend(clients[contender % clients.length]!, contender))
    }
    yield* Effect.sleep(from - now())
    const sentBefore = sent
    const cpuBefore = cpuMillis()
    yield* Effect.sleep(until - now())
    for (const [contender, asked] of waiting) turns.push({ contender, asked, acquired: Number.NaN, left: Number.NaN })
    return { turns, sent: sent - sentBefore, cpu: cpuMillis() - cpuBefore }
  })

const cpuMillis = () => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1000
}

interface LocalOptions {
  readonly fibers: number
  readonly name: string
  readonly repeats?: number
  /** Whether each yields once while it has the lock. */
  readonly yields?: boolean
  readonly fenced?: boolean
}

/** Fibers of one service on one name, each of which takes the lock once; all of that again as often as is asked for. */
const localCrowd = ({ fenced = false, fibers, name, repeats = 1, yields = false }: LocalOptions) =>
  Effect.gen(function*() {
    const service = local ??= yield* Layer.buildWithScope(Redsync.layer({ nodes: urls }), scope)
    const order: Array<number> = []
    const patient = { retry: retryForAnHour }
    const turn = (index: number) => {
      const push = Effect.sync(() => void order.push(index))
      const program = yields ? Effect.andThen(push, Effect.yieldNow) : push
      return fenced ? withFencedLock(name, () => program, patient) : withLock(name, program, patient)
    }
    const indices = Array.from({ length: fibers }, (_, index) => index)
    const all = Effect.forEach(indices, turn, { concurrency: "unbounded", discard: true })
    /** What it takes that all of them wait for a lock that is held. */
    const measureHeap = Effect.gen(function*() {
      const before = heap()
      const waiting = yield* withLock(
        name,
        Effect.gen(function*() {
          const waiting = yield* Effect.forkDetach(all, { startImmediately: true })
          yield* Effect.sleep("100 millis")
          return { bytes: heap() - before, waiting }
        }),
        patient
      )
      yield* Fiber.join(waiting.waiting)
      return waiting.bytes / fibers
    })
    const run = Effect.gen(function*() {
      const bytesPerFiber = yield* measureHeap
      order.length = 0
      const before = sent
      const cpuBefore = cpuMillis()
      const startedAt = now()
      yield* Effect.repeat(all, { times: repeats - 1 })
      const result = { sent: sent - before, cpu: cpuMillis() - cpuBefore, millis: now() - startedAt, bytesPerFiber }
      return {
        ...result,
        inOrder: order.length === fibers * repeats && order.every((value, index) => value === index % fibers)
      }
    })
    return yield* Effect.orDie(Effect.provide(run, service))
  })

/** The same with a semaphore of Effect's, which has nothing to ask anybody. */
const semaphoreCrowd = ({ fibers }: { readonly fibers: number }) =>
  Effect.gen(function*() {
    const semaphore = yield* Semaphore.make(1)
    const order: Array<number> = []
    const turn = (index: number) =>
      semaphore.withPermit(Effect.andThen(Effect.sync(() => void order.push(index)), Effect.yieldNow))
    const indices = Array.from({ length: fibers }, (_, index) => index)
    const cpuBefore = cpuMillis()
    const startedAt = now()
    yield* Effect.forEach(indices, turn, { concurrency: "unbounded", discard: true })
    const result = { sent: 0, cpu: cpuMillis() - cpuBefore, millis: now() - startedAt, bytesPerFiber: 0 }
    return { ...result, inOrder: order.every((value, index) => value === index) }
  })

let local: Context.Context<Redsync> | undefined

const retryForAnHour = Redsync.retryPolicy({ within: "1 hour" })

// -----------------------------------------------------------------------------
// many held
// -----------------------------------------------------------------------------

export interface HoldOptions {
  readonly locks: number
  readonly seconds: number
  readonly expirySeconds: number
}

/** Takes that many locks under names of their own and keeps them for so long. */
const hold = ({ expirySeconds, locks, seconds }: HoldOptions) =>
  Effect.gen(function*() {
    const layer = Redsync.layer({ nodes: urls, expiry: Duration.seconds(expirySeconds) })
    const service = yield* Layer.buildWithScope(layer, scope)
    const take = (name: string) => Effect.orDie(Effect.provide(lock(name), service))
    yield* Effect.scoped(take("warm up"))
    const heapBefore = heap()
    const names = Array.from({ length: locks }, (_, index) => `held ${index}`)
    const held = yield* Scope.provide(Effect.forEach(names, take, { concurrency: 200 }), scope)
    const heapAfter = heap()
    const sentBefore = sent
    const cpuBefore = cpuMillis()
    const before = now()
    yield* Effect.sleep(Duration.seconds(seconds))
    const result = { millis: now() - before, cpu: cpuMillis() - cpuBefore, commands: sent - sentBefore }
    const remaining = (yield* Effect.forEach(held, ({ remaining }) => remaining)).map(Duration.toMillis)
    return {
      ...result,
      lost: remaining.filter((millis) => millis === 0).length,
      leastRemaining: Math.min(...remaining),
      bytesPerLock: (heapAfter - heapBefore) / locks,
      bytesPerLockInTheEnd: (heap() - heapBefore) / locks
    }
  })

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

const heap = () => {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

// -----------------------------------------------------------------------------
// the parent's wishes
// -----------------------------------------------------------------------------

const jobs = {
  open: (options: Parameters<typeof open>[0]) => Effect.runPromise(open(options)),
  take: (options: Parameters<typeof take>[0]) => Effect.runPromise(take(options)),
  give: () => Effect.runPromise(give),
  roundTrips: (options: Parameters<typeof roundTrips>[0]) => Effect.runPromise(roundTrips(options)),
  crowd: (options: CrowdOptions) => Effect.runPromise(crowd(options)),
  localCrowd: (options: LocalOptions) => Effect.runPromise(localCrowd(options)),
  semaphoreCrowd: (options: Parameters<typeof semaphoreCrowd>[0]) => Effect.runPromise(semaphoreCrowd(options)),
  hold: (options: HoldOptions) => Effect.runPromise(hold(options))
}

export type WaitingJobs = typeof jobs

serve(jobs)
