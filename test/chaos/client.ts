/**
 * A client of a chaos run, in a process of its own: fibers that take locks, hold
 * them and write down when. It ends when told so, or when its parent is gone.
 */
import { Duration, Effect, Logger, Random } from "effect"
import { createInterface } from "node:readline"
import {
  type Fencing,
  type Lock,
  type LockError,
  LockLost,
  Redsync,
  retryPolicy,
  Semaphore,
  withFencedLock,
  withFencedSharedLock
} from "../../src/index.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { nodeOver, tracked } from "../support/effectRedis.ts"
import { named } from "../support/named.ts"
import { type Event, now, writer } from "./log.ts"

export interface Names {
  /** Of locks that are held for long, and for a moment. */
  readonly long: ReadonlyArray<string>
  readonly short: ReadonlyArray<string>
  /** Of semaphores, with their limits. */
  readonly permits: ReadonlyArray<readonly [name: string, limit: number]>
  /** Of locks that are shared. */
  readonly shared: ReadonlyArray<string>
}

/** How many fibers take locks, permits, and shared locks. */
export interface Fibers {
  readonly locks: number
  readonly permits: number
  readonly shared: number
}

export interface ClientOptions {
  readonly process: number
  readonly log: string
  readonly nodes: ReadonlyArray<string>
  readonly names: Names
  readonly fibers: Fibers
  readonly expiryMillis: number
  readonly delayedRestart: boolean
  /** Whether its nodes are over Effect's Redis service. */
  readonly effectRedis: boolean
}

const options: ClientOptions = JSON.parse(process.argv[2]!)
const { delayedRestart, effectRedis, expiryMillis, fibers, names, nodes } = options
const self = { process: options.process }

const write = writer(options.log)

let holds = 0

/** What a program does that has the lock: it takes its time in small steps, and looks at its lease. */
const hold = (
  token: Fencing.FencingToken,
  lock: Lock,
  waited: number,
  millis: number,
  what: Partial<Pick<Extract<Event, { readonly kind: "entered" }>, "permits" | "shared">> = {}
) =>
  Effect.acquireUseRelease(
    Effect.gen(function*() {
      const at = now()
      const leaseEnd = yield* leaseEndOf(lock, at)
      const held = { hold: holds++, leaseEnd }
      write({ kind: "entered", at, ...self, ...held, name: lock.name, waited, token, ...what })
      return held
    }),
    Effect.fnUntraced(function*(held) {
      let leaseEnd = held.leaseEnd
      const until = now() + millis * 1000
      while (now() < until) {
        yield* Effect.sleep(Math.min(20, Math.max(0, until - now()) / 1000))
        const at = now()
        const end = yield* leaseEndOf(lock, at)
        if (end <= leaseEnd + 1000) continue
        leaseEnd = end
        write({ kind: "extended", at, ...self, hold: held.hold, leaseEnd })
      }
    }),
    (held) => Effect.sync(() => write({ kind: "left", at: now(), ...self, hold: held.hold }))
  )

/** No later than it is: the lease is looked at after `at`. */
const leaseEndOf = (lock: Lock, at: number) =>
  Effect.map(lock.remaining, (remaining) => at + Math.floor(Duration.toMillis(remaining) * 1000))

const between = (min: number, max: number) => Random.nextBetween(min, max)

const pick = <A>(from: ReadonlyArray<A>) => Effect.map(Random.next, (random) => from[Math.floor(random * from.length)]!)

/** Through several extensions, or with a lease that is not extended, which a few outlast. */
const longTask = Effect.gen(function*() {
  const autoExtend = (yield* Random.next) < 0.5
  const most = autoExtend ? 2.5 : 1.1
  return { name: yield* pick(names.long), autoExtend, millis: yield* between(expiryMillis / 2, expiryMillis * most) }
})

const shortTask = Effect.gen(function*() {
  const most = (yield* Random.next) < 0.02 ? 100 : 5
  return { name: yield* pick(names.short), autoExtend: true, millis: Math.max(0, yield* between(-2, most)) }
})

const retry = retryPolicy({ delay: "150 millis", within: "20 seconds" })

/** One or more permits, seldom for long. */
const permitTask = Effect.gen(function*() {
  const [name, limit] = yield* pick(names.permits)
  const permits = Math.min(limit, yield* pick([1, 1, 1, 2, 3]))
  const millis = Math.max(0, yield* between(-2, yield* longest))
  const askedAt = now()
  return Semaphore.withFencedPermits(name, (held: Semaphore.FencedPermits) => {
    const { slots, token, tokens } = held
    return hold(token, held, now() - askedAt, millis, { permits: { slots, tokens, limit } })
  }, { limit, permits, retry })
})

const sharedTask = Effect.gen(function*() {
  const name = yield* pick(names.shared)
  const isReader = (yield* Random.next) < 0.8
  const millis = Math.max(0, yield* between(-2, yield* longest))
  const askedAt = now()
  const program = (token: Fencing.FencingToken, lock: Lock) =>
    hold(token, lock, now() - askedAt, millis, { shared: isReader })
  return isReader ? withFencedSharedLock(name, program, { retry }) : withFencedLock(name, program, { retry })
})

/** A moment, or now and then so long that the lease is extended. */
const longest = Effect.map(Random.next, (random) => random < 0.003 ? expiryMillis * 1.5 : random < 0.02 ? 100 : 5)

const lockTask = (task: typeof longTask) =>
  Effect.gen(function*() {
    const { autoExtend, millis, name } = yield* task
    const askedAt = now()
    const program = (token: Fencing.FencingToken, lock: Lock) => hold(token, lock, now() - askedAt, millis)
    return withFencedLock(name, program, { autoExtend, retry })
  })

const turn = (task: typeof permitTask) =>
  Effect.gen(function*() {
    yield* Effect.sleep(yield* between(0, 20))
    yield* Effect.catchIf(yield* task, () => true, (error: LockError | LockLost) =>
      Effect.sync(() => {
        const reason = error instanceof LockLost ? `${error._tag}: ${error.reason}` : error._tag
        write({ kind: "failed", at: now(), ...self, reason })
      }))
  })

/** Names that are held for long have a fiber of their own, or in the end all would wait for those. */
const tasks = [
  ...Array.from({ length: fibers.locks }, (_, index) => lockTask(index === 0 ? longTask : shortTask)),
  ...Array.from({ length: fibers.permits }, () => permitTask),
  ...Array.from({ length: fibers.shared }, () => sharedTask)
]

/** Looks whether the event loop turns. Whoever does not get the processor cannot stop a program in time. */
const watch = () => {
  let last = now()
  setInterval(() => {
    const at = now()
    if (at - last > 25_000) write({ kind: "stood still", at, ...self, from: last })
    last = at
  }, 10)
}

const told = Effect.callback<void>((resume) => {
  const input = createInterface({ input: process.stdin })
  input.on("line", () => resume(Effect.void))
  input.on("close", () => resume(Effect.void))
})

watch()
await Effect.forEach(tasks, (task) => Effect.forever(turn(task)), { concurrency: "unbounded" }).pipe(
  Effect.raceFirst(told),
  Effect.provide(
    Redsync.layer({
      // Each client has addresses of its own, and stands in the same line as the others all the same.
      nodes: nodes.map((url, index) =>
        Effect.map(
          effectRedis ? nodeOver(url, tracked) : IoredisNode.make(url),
          (node) => named(`node-${index}`, node)
        )
      ),
      expiry: expiryMillis,
      nodeTimeout: Math.max(100, expiryMillis / 10),
      ...delayedRestart ? { delayedRestart: expiryMillis } : {}
    })
  ),
  Effect.provide(Logger.layer([])),
  Effect.runPromise
)
process.exit(0)
