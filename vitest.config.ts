import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = fileURLToPath(new URL("src", import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-redsync$/, replacement: `${src}/index.ts` },
      { find: /^effect-redsync\/(.+)$/, replacement: `${src}/$1.ts` }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["./test/support/globalSetup.ts"],
    // The servers and child processes of one file keep a small machine busy: files side by side would disturb the timing
    // of each other's faults.
    maxWorkers: 1,
    // Nothing takes so long; it ends what hangs.
    testTimeout: 90_000,
    hookTimeout: 120_000
  }
})
