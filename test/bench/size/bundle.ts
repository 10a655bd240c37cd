/** Bundles as a user's bundler makes them, to see how large they are. */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"

const root = fileURLToPath(new URL("../../..", import.meta.url))

export interface Bundle {
  readonly code: string
  readonly bytes: number
  readonly gzipped: number
}

/** A program that takes locks on nodes given as URLs, and needs nothing else of this library. */
const ours = `
import * as Effect from "effect/Effect"
import { Redsync, withLock } from "effect-redsync"
export const run = (nodes, name, program) =>
  Effect.runPromise(Effect.provide(withLock(name, program), Redsync.layer({ nodes })))
`

const peers = {
  "redlock": `export { default } from "redlock"`,
  "@sesamecare-oss/redlock": `export { Redlock } from "@sesamecare-oss/redlock"`,
  "redis-semaphore": `export { RedlockMutex } from "redis-semaphore"`,
  "redlock-universal": `export { createRedlock, IoredisAdapter } from "redlock-universal"`
}

const bundle = async (
  contents: string,
  external: ReadonlyArray<string>,
  format: "esm" | "cjs" = "esm"
): Promise<Bundle> => {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    alias: { "effect-redsync": `${root}/src/index.ts` },
    bundle: true,
    minify: true,
    format,
    platform: "node",
    target: "node20",
    external: ["ioredis", ...external],
    write: false,
    logLevel: "error"
  })
  const { contents: code, text } = outputFiles[0]!
  return { code: text, bytes: code.length, gzipped: gzipSync(code, { level: 9 }).length }
}

/** All without ioredis, which they have in common. */
export const bundleOurs = (): Promise<Bundle> => bundle(ours, ["effect"])

export const bundleOursWithEffect = (): Promise<Bundle> => bundle(ours, [])

/** As CommonJS, which is what most of them are. */
export const bundlePeers = async (): Promise<Array<readonly [name: string, Bundle]>> => {
  const bundles: Array<readonly [string, Bundle]> = []
  for (const [name, contents] of Object.entries(peers)) bundles.push([name, await bundle(contents, [], "cjs")])
  return bundles
}
