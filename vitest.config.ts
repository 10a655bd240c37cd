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
    exclude: ["test/**/*.long.test.ts"],
    globalSetup: ["./test/support/globalSetup.ts"],
    // Each has servers and child processes of its own, for which it waits half of the time.
    maxWorkers: 3,
    silent: "passed-only",
    // Nothing takes so long; it ends what hangs.
    testTimeout: 180_000,
    hookTimeout: 120_000
  }
})
