/** What depends on the server: the files that `npm run test:servers` runs on servers of every version. */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

const { resolve, test } = config

const names = [
  "IoredisNode",
  "RedisNode",
  "commands",
  "connections",
  "delayedRestart",
  "faults",
  "faults.answers",
  "faults.restarts",
  "fencing",
  "health",
  "interop",
  "kinds",
  "kinds.acl",
  "kinds.failover.long",
  "leaks",
  "redsyncCases",
  "renewal",
  "support/RedisServers",
  "tracers",
  "trouble.holder",
  "trouble.waiting",
  "trouble.wakeups",
  "waiting",
  "withLocks",
  "cli/doctor",
  "cli/looking",
  "cli/run"
]

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  ...resolve && { resolve },
  test: { ...test, include: names.map((name) => `test/${name}.test.ts`), exclude: [], testTimeout: 180_000 }
})
