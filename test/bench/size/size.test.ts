import { assert, describe, it } from "@effect/vitest"
import { budgetBytes, budgetBytesWithoutUrls } from "./budget.ts"
import { bundleOurs, bundleWithoutUrls } from "./bundle.ts"

describe("bundle size", () => {
  it("is within its budget, and the budget is not far above it", async () => {
    const { gzipped } = await bundleOurs()
    assert.isAtMost(gzipped, budgetBytes, "the bundle has grown: see budget.ts")
    assert.isAtLeast(gzipped, budgetBytes * 0.85, "the bundle has become much smaller: lower the budget")
  })

  it("of a program without URLs has nothing of ioredis that is loaded at once", async () => {
    const { gzipped, inputs } = await bundleWithoutUrls()
    assert.isAtMost(gzipped, budgetBytesWithoutUrls, "the bundle has grown: see budget.ts")
    assert.isAtLeast(gzipped, budgetBytesWithoutUrls * 0.85, "the bundle has become much smaller: lower the budget")
    assert.deepStrictEqual(inputs.filter((path) => path.startsWith("src/internal/ioredis/")).sort(), [
      "src/internal/ioredis/nodes.ts",
      "src/internal/ioredis/url.ts"
    ])
    assert.deepStrictEqual(inputs.filter((path) => path.includes("node_modules/")), [])
  })
})
