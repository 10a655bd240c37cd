/**
 * The simulator of shared locks put to the test: wrong algorithms, and after how many
 * histories each is found out. `node test/simulation/shared/mutations.ts` tries them all,
 * with `--quick` each first on the history that found it last.
 */
import { loadMutated } from "../../support/mutated.ts"
import { edit, main, type Mutation } from "../verdicts.ts"
import type * as History from "./history.ts"

const table = "src/internal/memory/readerTable.ts"
const attempt = "src/internal/acquire/attempt.ts"
const held = "src/internal/hold/heldLock.ts"

export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "the key lives as long as the reader that came last",
    edits: [
      edit(
        table,
        "this.#keys.set(key, { value: sharedMarker, expiresAt })",
        "this.#keys.set(key, { value: sharedMarker, expiresAt: [...readers.values()].at(-1)! })"
      )
    ],
    within: 1000,
    seed: 18
  },
  {
    name: "the release of a reader deletes the key",
    edits: [
      edit(
        table,
        "if (table.readers.delete(value)) this.#expire(key, table, now)",
        "if (table.readers.delete(value)) this.#keys.delete(key)"
      )
    ],
    within: 1000,
    seed: 1
  },
  {
    name: "a reader comes in beside a writer",
    edits: [edit(table, "(held !== undefined && held !== sharedMarker) || (table", "(table")],
    within: 100,
    seed: 1
  },
  {
    name: "one node is enough for a reader",
    edits: [
      edit(
        attempt,
        "if (granted(tally) && remainingMillis",
        "if ((granted(tally) || (claim.settings.isShared && tally.grants > 0)) && remainingMillis"
      )
    ],
    within: 1000,
    seed: 2
  },
  {
    name: "a writer believes to be one until it is a reader",
    edits: [
      edit(
        held,
        "this.#context.waitQueues.releasing(this)\n    this.#recordEnd(\"released\")\n    this.#listeners.clear()\n    this.#released =",
        "this.#released ="
      ),
      edit(
        held,
        "  exclusiveEnded(isGranted: boolean): void {\n",
        "  exclusiveEnded(isGranted: boolean): void {\n    if (this.#isHeld) this.#recordEnd(\"released\")\n"
      )
    ],
    within: 1000,
    seed: 44
  },
  {
    name: "a reader that is made one again is a vote",
    edits: [edit(table, "    return isExtended\n", "    return isExtended || this.isReader(key, value, now)\n")],
    within: 5000,
    seed: 25
  },
  {
    name: "a writer enters beside a single reader",
    edits: [edit(
      "test/simulation/shared/history.ts",
      "if (this.held(now) !== undefined) return false",
      "const held = this.held(now)\n    if (held !== undefined && !(held === sharedMarker && this.readers.inspect(name, \"\", now).readers < 2)) return false"
    )],
    within: 500,
    seed: 1
  },
  {
    name: "a writer leaves to readers a lock that is another's",
    edits: [
      edit(
        table,
        "    if (this.#keys.get(key, now)?.value !== value) return false\n    const table = this.#table(key)\n    if (table.readerWaitsUntil",
        "    const table = this.#table(key)\n    if (table.readerWaitsUntil"
      )
    ],
    within: 5000,
    seed: 2095
  },
  {
    name: "readers of a key that was removed come back with the next one",
    edits: [edit(table, "!== sharedMarker) table.readers.clear()", "!== sharedMarker) void 0")],
    within: 2000,
    seed: 741
  },
  {
    name: "the token of a reader is not raised where the nodes differ",
    edits: [
      edit(
        attempt,
        "!granted(tally) || allocation.chooseToken(tally)",
        "!granted(tally) || (allocation.chooseToken(tally), claim.settings.isShared)"
      )
    ],
    within: 2000,
    seed: 168
  },
  {
    name: "the token of a reader is the smallest of a quorum",
    edits: [
      edit(
        "src/internal/claim/tokenAllocation.ts",
        "const token = Math.max(...counted)",
        "const token = Math.min(...counted)"
      )
    ],
    within: 500,
    seed: 9
  },
  {
    name: "a server that is too young lets readers in",
    edits: [edit(
      "test/simulation/shared/history.ts",
      "readers.acquire(name, value, expiry, wait, now),\n          true",
      "readers.acquire(name, value, expiry, wait, now),\n          false"
    )],
    within: 1000,
    seed: 11
  }
]

await main(import.meta.url, mutations, async ({ edits }) => {
  const [{ run }] = await loadMutated(edits, [new URL("history.ts", import.meta.url)]) as [typeof History]
  return (seed) => run(seed).violation?.promise
})
