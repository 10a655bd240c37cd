/**
 * Judges the log of a chaos run.
 *
 * A hold lasts from the first step of a program to its last; one whose process
 * was killed ends there. Two holds of one name that share an instant overlap. What
 * that means depends on what each was promised, which is the end of its lease:
 *
 * - `promised`: both still had time. The lock has broken its first promise.
 * - `overstayed`: one had outlived its lease with its process up and running. The
 *   program was not stopped in time.
 * - `paused`, `stalled`: the same, but its process could not know: we had stopped
 *   it, or it did not get the processor. No lock can prevent that.
 *
 * Each slot of a semaphore is held for itself, and beside that permits are counted:
 * never more than there are, among those that still have time. Readers of one name do
 * not overlap with each other.
 *
 * A fenced resource is played beside it: every hold writes to it with its token
 * as its first and as its last step, and it takes only tokens at least as large as
 * the largest it has seen. It must never take a write of one that came before
 * another who has written already, nor refuse one whose lease has not ended. A
 * reader only reads, with a token that must not be smaller than those of all writers
 * before it.
 */
import type { Event } from "./log.ts"

export interface Hold {
  readonly process: number
  readonly name: string
  readonly entered: number
  readonly token: number
  readonly waited: number
  readonly shared: boolean
  leaseEnd: number
  left: number
  killed: boolean
}

export type OverlapKind = "promised" | "overstayed" | "paused" | "stalled"

export interface Overlap {
  readonly kind: OverlapKind
  readonly older: Hold
  readonly newer: Hold
}

export interface Verdict {
  /** One for each permit. */
  readonly holds: ReadonlyArray<Hold>
  /** How often more permits of a semaphore were held, by leases with time left, than there are. */
  readonly tooMany: number
  readonly overlaps: ReadonlyArray<Overlap>
  /** Writes that a fenced resource took though a later holder had written before. */
  readonly passedByFence: ReadonlyArray<Hold>
  /** Holds that entered with time left, with a token that is not larger than all before. */
  readonly outOfOrder: ReadonlyArray<Hold>
}

/**
 * How long a program may go on after its lease while its process runs, in
 * microseconds: about what passes between two looks at whether it stands still.
 */
const patience = 50_000

interface Still {
  readonly from: number
  to: number
  readonly byUs: boolean
}

export const judge = (events: Iterable<Event>): Verdict => {
  const inOrder = [...events].sort((a, b) => a.at - b.at)
  const { holdsOf, stills } = gather(inOrder)
  const holds = [...holdsOf.values()].flat()
  const byName = new Map<string, Array<Hold>>()
  for (const hold of holds) {
    const ofName = byName.get(hold.name)
    if (ofName === undefined) byName.set(hold.name, [hold])
    else ofName.push(hold)
  }
  const overlaps: Array<Overlap> = []
  const passedByFence: Array<Hold> = []
  const outOfOrder: Array<Hold> = []
  for (const ofName of byName.values()) {
    overlaps.push(...overlapsOf(ofName, stills))
    fence(ofName, passedByFence, outOfOrder)
  }
  return { holds, tooMany: countTooMany(inOrder, holdsOf), overlaps, passedByFence, outOfOrder }
}

/** The holds in the order of their beginning, and when each process stood still. */
const gather = (inOrder: ReadonlyArray<Event>) => {
  const holds = new Map<string, ReadonlyArray<Hold>>()
  const stills = new Map<number, Array<Still>>()
  const stillsOf = (process: number) => {
    if (!stills.has(process)) stills.set(process, [])
    return stills.get(process)!
  }
  for (const event of inOrder) {
    switch (event.kind) {
      case "entered": {
        const { at, hold, leaseEnd, name, permits, process, shared = false, token, waited } = event
        const common = { process, entered: at, waited, shared }
        const one = (name: string, token: number): Hold => ({
          ...common,
          name,
          token,
          leaseEnd,
          left: Number.POSITIVE_INFINITY,
          killed: false
        })
        holds.set(
          `${process} ${hold}`,
          permits === undefined
            ? [one(name, token)]
            : permits.slots.map((slot, index) => one(`${name}, slot ${slot}`, permits.tokens[index]!))
        )
        break
      }
      case "extended":
      case "left": {
        for (const hold of holds.get(`${event.process} ${event.hold}`)!) {
          if (event.kind === "left") hold.left = event.at
          else hold.leaseEnd = event.leaseEnd
        }
        break
      }
      case "killed":
        for (const hold of [...holds.values()].flat()) {
          if (hold.process !== event.process || hold.left !== Number.POSITIVE_INFINITY) continue
          hold.left = event.at
          hold.killed = true
        }
        break
      case "stood still":
        stillsOf(event.process).push({ from: event.from, to: event.at, byUs: false })
        break
      case "stopped":
        stillsOf(event.process).push({ from: event.at, to: Number.POSITIVE_INFINITY, byUs: true })
        break
      case "resumed":
        stillsOf(event.process).filter(({ byUs }) => byUs).at(-1)!.to = event.at
        break
    }
  }
  return { holdsOf: holds, stills }
}

/** An independent count, which knows nothing of slots. */
const countTooMany = (inOrder: ReadonlyArray<Event>, holdsOf: ReadonlyMap<string, ReadonlyArray<Hold>>): number => {
  const changes = new Map<string, Array<{ readonly at: number; readonly by: number; readonly limit: number }>>()
  for (const event of inOrder) {
    if (event.kind !== "entered" || event.permits === undefined) continue
    const { at, hold, name, permits: { limit, slots }, process } = event
    const { leaseEnd, left } = holdsOf.get(`${process} ${hold}`)![0]!
    const ofName = changes.get(name) ?? []
    changes.set(name, ofName)
    ofName.push({ at, by: slots.length, limit }, {
      at: Math.max(at, Math.min(left, leaseEnd)),
      by: -slots.length,
      limit
    })
  }
  let tooMany = 0
  for (const ofName of changes.values()) {
    let held = 0
    // Who leaves at a time leaves before others come.
    for (const { by, limit } of ofName.sort((a, b) => a.at - b.at || a.by - b.by)) {
      held += by
      if (by > 0 && held > limit) tooMany++
    }
  }
  return tooMany
}

const overlapsOf = (holds: ReadonlyArray<Hold>, stills: ReadonlyMap<number, ReadonlyArray<Still>>) => {
  const overlaps: Array<Overlap> = []
  let inside: Array<Hold> = []
  for (const newer of holds) {
    inside = inside.filter((hold) => hold.left > newer.entered)
    for (const older of inside) {
      if (older.shared && newer.shared) continue
      overlaps.push({ kind: kindOf(older, newer, stills), older, newer })
    }
    inside.push(newer)
  }
  return overlaps
}

const kindOf = (older: Hold, newer: Hold, stills: ReadonlyMap<number, ReadonlyArray<Still>>): OverlapKind => {
  const from = newer.entered
  const to = Math.min(older.left, newer.left)
  if (from < Math.min(to, older.leaseEnd, newer.leaseEnd)) return "promised"
  let kind: OverlapKind = "stalled"
  for (const hold of [older, newer]) {
    if (hold.leaseEnd >= to) continue
    const ofProcess = stills.get(hold.process) ?? []
    if (to - hold.leaseEnd - covered(ofProcess, hold.leaseEnd, to) > patience) return "overstayed"
    if (ofProcess.some(({ byUs, ...still }) => byUs && still.from < to && still.to > hold.leaseEnd)) kind = "paused"
  }
  return kind
}

/** How much of a span of time the process stood still. */
const covered = (stills: ReadonlyArray<Still>, from: number, to: number): number => {
  let sum = 0
  let upTo = from
  for (const still of [...stills].sort((a, b) => a.from - b.from)) {
    if (still.from >= to) break
    const end = Math.min(still.to, to)
    if (end <= upTo) continue
    sum += end - Math.max(still.from, upTo)
    upTo = end
    if (upTo === to) break
  }
  return sum
}

const fence = (holds: ReadonlyArray<Hold>, passed: Array<Hold>, outOfOrder: Array<Hold>) => {
  const writes = holds.flatMap((hold) => [
    { at: hold.entered, first: true, hold },
    ...hold.killed ? [] : [{ at: hold.left, first: false, hold }]
  ]).sort((a, b) => a.at - b.at)
  let largest = Number.NEGATIVE_INFINITY
  /** Who was let in last while its lease had time left. */
  let newest: Hold | undefined
  for (const { first, hold } of writes) {
    const { token } = hold
    if (hold.shared) {
      if (first && hold.leaseEnd > hold.entered && token < largest) outOfOrder.push(hold)
      continue
    }
    if (first && hold.leaseEnd > hold.entered) {
      if (token <= largest) outOfOrder.push(hold)
      newest = hold
    } else if (token >= largest && newest !== undefined && newest.entered > hold.entered) {
      passed.push(hold)
    }
    largest = Math.max(largest, token)
  }
}
