/**
 * The simulator of semaphores put to the test: wrong algorithms, and after how many
 * histories each is found out. `node test/simulation/permits/mutations.ts` tries them all,
 * with `--quick` each first on the history that found it last.
 */
import { loadMutated } from "../../support/mutated.ts"
import { edit, main, type Mutation } from "../verdicts.ts"
import type * as History from "./history.ts"

const rounds = "src/internal/claim/permits.ts"
const votes = "src/internal/claim/permitAllocation.ts"
const table = "src/internal/memory/permitTable.ts"
const attempt = "src/internal/acquire/attemptPermits.ts"

export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "a majority of nodes that gave any slots, as semaphores without numbers have it",
    edits: [edit(
      rounds,
      "grants: this.votes.ranked(tally)[this.allocation.permits - 1]?.[1] ?? 0",
      "grants: nodes.filter((node) => this.votes.of(node)!.length > 0).length"
    )],
    within: 100,
    seed: 5
  },
  {
    name: "one slot with a quorum is enough for all that were requested",
    edits: [edit(
      rounds,
      "this.votes.ranked(tally)[this.allocation.permits - 1]",
      "this.votes.ranked(tally)[0]"
    )],
    within: 200,
    seed: 95
  },
  {
    name: "an extension needs a quorum for one of the slots",
    edits: [edit(votes, "const grants = Math.min(...slots", "const grants = Math.max(...slots")],
    within: 100,
    seed: 8
  },
  {
    name: "a slot is settled on without looking who has it",
    edits: [edit(
      table,
      "const slots = wanted.filter((slot) => (this.#taken.get(slot) ?? value) === value)\n    const tokens",
      "const slots = wanted\n    const tokens"
    )],
    within: 200,
    seed: 5
  },
  {
    name: "a holder that has expired frees its slots without looking who has them now",
    edits: [edit(
      table,
      "      this.#holders.delete(value)\n      for (const slot of slots)",
      "      for (const slot of slots)"
    )],
    within: 500,
    seed: 4
  },
  {
    name: "a release frees what the value had before it expired",
    edits: [
      edit(
        table,
        "      this.#holders.delete(value)\n      for (const slot of slots) this.#taken.delete(slot)",
        "      this.#holders.set(value, { slots, expiresAt: Number.POSITIVE_INFINITY, round: 9 })\n      for (const slot of slots) this.#taken.delete(slot)"
      )
    ],
    within: 500,
    seed: 156
  },
  {
    name: "slots that an extension takes back are votes",
    edits: [edit(table, "    return kept\n", "    return slots\n")],
    within: 2000,
    seed: 30
  },
  {
    name: "a token is that of one node, not the largest of a quorum",
    edits: [
      edit(
        rounds,
        "Math.max(...counted) as FencingToken",
        "counted[0] as FencingToken"
      )
    ],
    within: 1000,
    seed: 39
  },
  {
    name: "a settlement does not renew the lease on the node",
    edits: [edit(
      table,
      "this.#hold(value, slots, now + expiryMillis, round)",
      "this.#hold(value, slots, mine?.expiresAt ?? now + expiryMillis, round)"
    )],
    within: 5000,
    seed: 5
  },
  {
    name: "the lease counted from the reply",
    edits: [edit(
      attempt,
      "new HeldPermits(service.permitHolds, claim, permits, start)",
      "new HeldPermits(service.permitHolds, claim, permits, instantNow(clock))"
    )],
    within: 5000,
    seed: 880
  },
  {
    name: "a server that is too young settles",
    edits: [edit(
      "test/simulation/permits/history.ts",
      "table.settle(value, settlement, count(settlement.proposal), now)!,\n          true",
      "table.settle(value, settlement, count(settlement.proposal), now)!,\n          false"
    )],
    within: 20_000,
    seed: 743
  },
  {
    name: "tokens are not raised where the nodes differ",
    edits: [edit(
      attempt,
      "!claim.settings.isFenced || request.chooseTokens(tally)",
      "!claim.settings.isFenced || (request.chooseTokens(tally), true)"
    )],
    within: 1000,
    seed: 43
  },
  {
    name: "a failed attempt is not cleaned up",
    edits: [edit(attempt, "cleanUps.over(claim, isRefused ? mayHold(tally) : nodes)", "void cleanUps")],
    within: 200,
    seed: 33
  }
]

await main(import.meta.url, mutations, async ({ edits }) => {
  const [{ run }] = await loadMutated(edits, [new URL("history.ts", import.meta.url)]) as [typeof History]
  return (seed) => run(seed).violation?.promise
})
