/**
 * The tests of nodes over ioredis with another version of it, which stands in the
 * place of the one that is developed with: `IOREDIS=ioredis-5.4`, for
 * `npm run test:clients`.
 */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

const { resolve, test } = config
const aliases = Array.isArray(resolve?.alias) ? resolve.alias : []

const replacement = fileURLToPath(import.meta.resolve(process.env["IOREDIS"] ?? "ioredis"))

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  resolve: { alias: [...aliases, { find: /^ioredis$/, replacement }] },
  test: { ...test, include: ["test/servers/nodes/IoredisNode.test.ts", "test/servers/nodes/connections.test.ts"] }
})
