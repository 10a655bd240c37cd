/**
 * Random operations on a node, until something is wrong: for the suite that every node passes, and for
 * scripts that are broken on purpose.
 */
import { Effect, Option } from "effect"
import type { LockNode, NodeError } from "../../src/index.ts"
import { sharedMarker } from "../../src/internal/nodeContract.ts"
import type { PermitStore } from "../../src/LockNode.ts"

/** Long against the operations. */
const longMillis = 60_000

/** A generator of its own, so that a failure can be repeated. */
const generator = (seed: number) => {
  let state = seed
  return (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below
}

/** What does not agree in the hash of a semaphore, or how many slots are taken. */
const disagreement = (fields: ReadonlyArray<string>): string | number => {
  if (fields.length === 0) return 0
  const state = new Map<string, string>()
  for (let index = 0; index < fields.length; index += 2) state.set(fields[index]!, fields[index + 1]!)
  const held = [...state].flatMap(([field, text]) => field.startsWith("=") ? [text.split(":")] : [])
  const taken = held.flatMap(([, , slots]) => slots!.split(","))
  const soonest = Math.min(...held.map(([expiresAt]) => Number(expiresAt)))
  if (new Set(taken).size !== taken.length) return `a slot is taken twice: ${taken.join(" ")}`
  if (Number(state.get("taken")) !== taken.length) return `${taken.length} are taken, not ${state.get("taken")}`
  if (!(Number(state.get("soonest")) <= soonest)) return `${state.get("soonest")} is later than ${soonest}`
  return taken.length
}

/** Of a semaphore over Redis, whose hash `read` gets: whatever happens, the bits are the slots of the holders. */
export const faultOfPermits = Effect.fnUntraced(function*(
  permits: PermitStore,
  read: (key: string) => Effect.Effect<ReadonlyArray<string>, NodeError>
) {
  const random = generator(7)
  for (const limit of [1, 2, 5, 8, 9, 40, 300]) {
    const name = `invariant ${limit}`
    const key = `redsync:1:permits:{${name}}`
    for (let step = 0; step < 150; step++) {
      const at = `limit ${limit}, step ${step}: `
      const value = `client-${random(12)}`
      const expiryMillis = random(3) === 0 ? 3 : longMillis
      const count = 1 + random(Math.min(limit, 6))
      const slots = [...new Set(Array.from({ length: count }, () => random(limit)))]
      const request = { expiryMillis, limit, permits: count, start: random(limit), step: 1 }
      const extend = Effect.gen(function*() {
        const had = (yield* permits.inspect(name, value)).holders.flatMap(({ slots }) => slots)
        const confirmed = yield* permits.extend(name, value, expiryMillis, slots, random(2) === 0)
        const extra = confirmed.filter((slot) => !had.includes(slot))
        return extra.length > 0 ? `slots ${extra.join(" ")} are confirmed that were not held` : undefined
      })
      const operations: ReadonlyArray<Effect.Effect<unknown, NodeError>> = [
        permits.acquire(name, value, request),
        permits.acquire(name, value, { ...request, proposal: 9 }),
        permits.settle(name, value, { expiryMillis, limit, slots, round: 2 + random(3) }),
        extend,
        permits.release(name, value)
      ]
      const answer = yield* operations[random(operations.length)]!
      if (typeof answer === "string") return at + answer
      const taken = disagreement(yield* read(key))
      if (typeof taken === "string") return at + taken
      // Whoever takes all that is free shows which bits are not set.
      const free = limit - taken
      if (free === 0 || step % 5 > 0) continue
      const rest = yield* permits.acquire(name, "the rest", { ...request, expiryMillis: longMillis, permits: free })
      if (rest.slots.length !== free) return `${at}${rest.slots.length} of ${free} free slots are given`
      const all = disagreement(yield* read(key))
      if (typeof all === "string") return at + all
      yield* permits.release(name, "the rest")
    }
  }
  return undefined
})

/** Of a shared lock: readers are inside only while the key is, none beside a writer, and nobody who has not joined since. */
export const faultOfReaders = Effect.fnUntraced(function*(
  node: LockNode,
  elapse: (millis: number) => Effect.Effect<void>
) {
  const { acquire, announce, downgrade, extend, inspect, release, yieldToReaders } = node.shared!
  const random = generator(16)
  const millis = () => [20, 40, longMillis][random(3)]!
  const key = "random"
  let joined = new Set<string>()
  /** Who stays, unless it is released or the key is removed. */
  let staying = new Set<string>()
  for (let step = 0; step < 600; step++) {
    const reader = `r${random(5)}`
    const writer = `w${random(2)}`
    const join = Effect.gen(function*() {
      const before = Option.getOrUndefined(yield* node.inspect(key))
      const lives = millis()
      if (!(yield* acquire(key, reader, lives, random(2) * 30))) return
      joined.add(reader)
      if (lives === longMillis) staying.add(reader)
      else staying.delete(reader)
      const isWritten = before !== undefined && before.value !== sharedMarker && before.ttlMillis > longMillis / 2
      return isWritten ? `${reader} is let in beside ${before.value}` : undefined
    })
    const leave = () => {
      staying.delete(reader)
      return release(key, reader)
    }
    const remove = () => {
      staying = new Set()
      return node.remove(key)
    }
    const meet = Effect.suspend(remove).pipe(
      Effect.andThen(node.acquire(key, writer, longMillis)),
      Effect.andThen(join)
    )
    const extended = Effect.gen(function*() {
      const had = joined.has(reader)
      staying.delete(reader)
      const isExtended = yield* extend(key, reader, millis(), random(2) === 0)
      joined.add(reader)
      return isExtended && !had ? `${reader} is extended, who was no reader` : undefined
    })
    const yields = Effect.gen(function*() {
      const before = Option.getOrUndefined(yield* node.inspect(key))?.value
      const released = yield* random(2) === 0 ? node.release(key, writer) : yieldToReaders(key, writer, 20)
      return released && before !== undefined && before !== writer
        ? `${writer} releases what is ${before}'s`
        : undefined
    })
    const operations: ReadonlyArray<() => Effect.Effect<unknown, NodeError>> = [
      ...[1, 2, 3].map(() => () => join),
      () => meet,
      () => extended,
      leave,
      leave,
      () => node.acquire(key, writer, millis()),
      () => yields,
      () => {
        staying.delete(reader)
        joined.add(reader)
        return downgrade(key, writer, reader, millis())
      },
      () => announce(key, random(2) * 20),
      () => random(3) === 0 ? remove() : node.extend(key, writer, millis()),
      () => step % 5 === 0 ? elapse(10) : Effect.void
    ]
    const answer = yield* operations[random(operations.length)]!()
    if (typeof answer === "string") return `step ${step}: ${answer}`
    // In this order, since time goes by in between.
    const found = Option.getOrUndefined(yield* node.inspect(key))
    const { holders } = yield* inspect(key)
    if (found?.value !== sharedMarker) joined = new Set()
    const lost = [...staying].find((reader) => !holders.some(({ value }) => value === reader))
    if (lost !== undefined) return `step ${step}: ${lost} is no reader any more`
    if (holders.length === 0) continue
    if (found?.value !== sharedMarker) return `step ${step}: readers beside ${found?.value ?? "no key"}`
    const longest = Math.max(...holders.map(({ ttlMillis }) => ttlMillis))
    if (found.ttlMillis < longest) return `step ${step}: the key lives ${found.ttlMillis} ms, a reader ${longest} ms`
    const stranger = holders.find(({ value }) => !joined.has(value))
    if (stranger !== undefined) return `step ${step}: ${stranger.value} is a reader who has not joined`
  }
  return undefined
})
