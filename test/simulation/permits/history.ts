/**
 * One history of a semaphore in the simulated world: services that want permits of it,
 * over a network and servers that fail, and whether all promises are kept.
 */
import * as Effect from "effect/Effect"
import { Semaphore } from "../../../src/index.ts"
import type { HeldPermits } from "../../../src/internal/hold/heldPermits.ts"
import { type CountTokens, PermitTable } from "../../../src/internal/memory/permitTable.ts"
import { Checker, type Contest, type History, simulate } from "../contention.ts"
import type { Process } from "../world/process.ts"

const name = "s"

/** The table of a server, and the counters of its slots. */
class Slots {
  table = new PermitTable()
  counters = new Map<number, number>()

  readonly count = (proposal: number | undefined): CountTokens => (slots, isNew) => {
    if (proposal === undefined) return []
    return slots.map((slot) => {
      const before = this.counters.get(slot) ?? 0
      const token = isNew(slot) || before === 0 ? Math.max(before + 1, proposal) : before
      this.counters.set(slot, token)
      return token
    })
  }

  raise(value: string, slots: ReadonlyArray<number>, tokens: ReadonlyArray<number>, now: number) {
    const held = this.table.slotsOf(value, now)
    return slots.filter((slot, index) => {
      if (!held.includes(slot)) return false
      this.counters.set(slot, Math.max(this.counters.get(slot) ?? 0, tokens[index]!))
      return true
    })
  }

  remove() {
    this.table = new PermitTable()
  }

  wipe() {
    this.remove()
    this.counters.clear()
  }
}

class PermitChecker extends Checker<HeldPermits> {
  readonly #lastTokens = new Map<number, number>()

  granted(process: Process, permits: HeldPermits, limit: number, weight: number): void {
    this.count("grants")
    this.world.log(() => `${process.name} holds ${permits.slots.join(",")} with ${permits.tokens.join(",")}`)
    if (permits.slots.length !== weight || permits.slots.some((slot) => slot < 0 || slot >= limit)) {
      this.violated("as many permits as requested", `${permits.slots.join(",")} of ${limit}`)
    }
    if (!this.add(process, permits)) return
    permits.tokens.forEach((token, index) => {
      const slot = permits.slots[index]!
      if (token <= (this.#lastTokens.get(slot) ?? 0)) this.violated("tokens grow", `${token} for slot ${slot}`)
      this.#lastTokens.set(slot, token)
    })
  }

  /** No slot is believed to be held by two at the same moment. */
  look(): void {
    const owners = new Map<number, string>()
    for (const { held, process } of this.held()) {
      for (const slot of held.slots) {
        const other = owners.get(slot)
        if (other !== undefined) this.violated("no slot twice", `slot ${slot} of ${other} and ${process.name}`)
        owners.set(slot, process.name)
      }
    }
    this.countMost("most held", owners.size)
  }
}

const none = () => Effect.die(new Error("no locks here"))

const contest: Contest<Slots, PermitChecker> = {
  checker: (world) => new PermitChecker(world),
  store: () => new Slots(),
  operations: (ask) => ({
    acquire: none,
    extend: none,
    release: none,
    inspect: none,
    remove: none,
    permits: {
      acquire: (_, value, request) =>
        ask(
          "acquire",
          () => `acquire ${value.slice(-4)}`,
          ({ count, table }, now) => table.acquire(value, request, count(request.proposal), now)!,
          true
        ),
      settle: (_, value, settlement) =>
        ask(
          "acquire",
          () => `settle ${value.slice(-4)} on ${settlement.slots.join(",")} in ${settlement.round}`,
          ({ count, table }, now) => table.settle(value, settlement, count(settlement.proposal), now)!,
          true
        ),
      extend: (_, value, expiryMillis, wanted, ifPresent = false) =>
        ask(
          "extend",
          () => `extend ${value.slice(-4)} on ${wanted.join(",")}`,
          ({ table }, now) => table.extend(value, expiryMillis, wanted, ifPresent, now)
        ),
      release: (_, value) =>
        ask("release", () => `release ${value.slice(-4)}`, ({ table }, now) => table.release(value, now)),
      raise: (_, value, wanted, tokens) =>
        ask(
          "acquire",
          () => `raise ${value.slice(-4)} to ${tokens.join(",")}`,
          (slots, now) => slots.raise(value, wanted, tokens, now)
        ),
      inspect: (_, value) => ask("inspect", () => "inspect", ({ table }, now) => table.inspect(value, now)),
      remove: () => Effect.die(new Error("nobody removes"))
    }
  }),
  draw: (chance) => {
    const mostPermits = chance.int(1, 6)
    return () => {
      const limit = chance.in(0.9) ? mostPermits : chance.int(1, mostPermits)
      return () => {
        const permits = Math.min(chance.skewedInt(1, mostPermits), limit)
        return ({ checker, during, isFenced, options, process }) => {
          const hold = (held: Semaphore.Permits) =>
            during(held, () => checker.granted(process, held as HeldPermits, limit, permits))
          const wanted = { ...options, limit, permits }
          return isFenced
            ? Semaphore.withFencedPermits(name, hold, wanted)
            : Semaphore.withPermits(name, hold, wanted)
        }
      }
    }
  },
  left: ({ table }, now) => {
    const { length } = table.inspect(undefined, now).holders
    return length > 0 ? `${length} holders` : undefined
  }
}

export const run = (seed: number, record = false): History => simulate(contest, seed, record)
