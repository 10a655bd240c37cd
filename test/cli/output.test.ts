import { assert, describe, it } from "@effect/vitest"
import { fitted } from "../../src/cli/output.ts"

describe("lines on a terminal", () => {
  it("are broken where the terminal would, and their colours take no place", () => {
    const bold = "\x1b[1mabc\x1b[0m"
    assert.deepStrictEqual(fitted(["abcdefg", "", bold, `${bold}de`], { columns: 5, rows: 24 }), [
      "abcd",
      "efg",
      "",
      bold,
      `${bold}d`,
      "e"
    ])
    assert.deepStrictEqual(fitted(["🔒🔒🔒"], { columns: 3, rows: 24 }), ["🔒🔒", "🔒"])
  })

  it("leave a row to the cursor, and say how many do not fit", () => {
    const lines = ["a", "b", "c", "d"]
    assert.deepStrictEqual(fitted(lines, { columns: 80, rows: 5 }), lines)
    assert.deepStrictEqual(fitted(lines, { columns: 80, rows: 4 }), ["a", "b", "and 2 more lines"])
  })

  it("are whatever they are on a terminal without a size", () => {
    assert.deepStrictEqual(fitted(["ab"], { columns: 0, rows: 0 }), ["ab"])
  })
})
