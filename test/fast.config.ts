/** `npm run test:fast`: what needs no server and takes seconds. */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

const { resolve, test } = config

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  ...resolve && { resolve },
  test: { ...test, include: ["test/*.test.ts", "test/{internal,cli}/**/*.test.ts"], globalSetup: [] }
})
