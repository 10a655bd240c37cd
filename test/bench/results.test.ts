import { assert, describe, it } from "@effect/vitest"
import { lastRuns, partsOf, splitAtMarkers } from "./results.ts"

/** Without the padding of the tables, and empty lines. */
const bare = (text: string) =>
  text.replaceAll(/ {2,}/g, " ").replaceAll(/-{3,}/g, "---").split("\n").filter((line) => line !== "")

describe("the pages that the benchmark writes", () => {
  it("have what was last measured", () => {
    for (const [file, lines] of partsOf(lastRuns())) {
      assert.deepStrictEqual(bare(splitAtMarkers(file)[1]), bare(lines.join("\n")), file)
      const ours = lines.filter((line) => /[|;] effect-redsync[ :]/.test(line))
      assert.isNotEmpty(ours, file)
      for (const line of ours) assert.notMatch(line, / – +\|| –[;\]]/)
    }
  })
})
