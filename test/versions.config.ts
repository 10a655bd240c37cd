/** What depends on the server: the files that `npm run test:servers` runs on servers of every version. */
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import config from "../vitest.config.ts"

const { resolve, test } = config

const include = [
  "{nodes,faults,waiting,topologies,compat}/*",
  "{fencing,harness,health,leaks,prefix,semaphore,sharedLocks}",
  "cli/{doctor,looking,run}"
].map((files) => `test/servers/${files}.test.ts`)

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  ...resolve && { resolve },
  // The other side of locks of other languages is no matter of the server, and needs `go`.
  test: { ...test, include, exclude: ["**/otherLanguages.long.test.ts"], testTimeout: 180_000 }
})
