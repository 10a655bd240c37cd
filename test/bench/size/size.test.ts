import { assert, describe, it } from "@effect/vitest"
import { budgetBytes } from "./budget.ts"
import { bundleOurs } from "./bundle.ts"

describe("bundle size", () => {
  it("is within its budget, and the budget is not far above it", async () => {
    const { gzipped } = await bundleOurs()
    assert.isAtMost(gzipped, budgetBytes, "the bundle has grown: see budget.ts")
    assert.isAtLeast(gzipped, budgetBytes * 0.85, "the bundle has become much smaller: lower the budget")
  })
})
