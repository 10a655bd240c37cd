/**
 * `npm run test:containers`: what depends on the server most, on Valkey in containers. A
 * project of its own, since it needs a container runtime, and fails where there is
 * none.
 */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

process.env["REDSYNC_TEST_SERVERS"] = "containers"
process.env["REDSYNC_TEST_IMAGE"] = "valkey/valkey:8-alpine"

const { resolve, test } = config

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  ...resolve && { resolve },
  test: { ...test, include: ["test/servers/{nodes,faults,waiting,compat}/*.test.ts"] }
})
