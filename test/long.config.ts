/** What is too long for `npm test`, for `npm run test:long`: the files that end in `.long.test.ts`. */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

const { resolve, test } = config

/** As long as it is let, and what it takes to begin and end. */
const testTimeout = Number(process.env["FIRE_SECONDS"] ?? 10) * 1000 + 120_000

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  ...resolve && { resolve },
  test: { ...test, include: ["test/**/*.long.test.ts"], exclude: [], silent: false, testTimeout }
})
