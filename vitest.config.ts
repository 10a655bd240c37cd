import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const src = fileURLToPath(new URL("src", import.meta.url))

/** Short files of long tests. Files begin by size, so these would be run when all others are done. */
const longest = /\/(?:explore|fuzz|leaders|frozenHolder|run\.tree|permits|simulation|delayedRestart)\.test\.ts$/

class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const sorted = await super.sort(files)
    const isLong = ({ moduleId }: TestSpecification) => longest.test(moduleId)
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))]
  }
}

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-redsync$/, replacement: `${src}/index.ts` },
      { find: /^effect-redsync\/(.+)$/, replacement: `${src}/$1.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/**/*.long.test.ts"],
    globalSetup: ["./test/support/globalSetup.ts"],
    // Each has servers and child processes of its own, for which it waits half of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    silent: "passed-only",
    // Nothing takes so long; it ends what hangs.
    testTimeout: 180_000,
    hookTimeout: 120_000
  }
})
