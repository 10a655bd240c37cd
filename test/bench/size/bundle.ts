/** Bundles as a user's bundler makes them, to see how large they are. */
import { build } from "esbuild"
import { relative } from "node:path"
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

const options = {
  alias: { "effect-redsync": `${root}/src/index.ts` },
  bundle: true,
  minify: true,
  platform: "node",
  target: "node20",
  write: false,
  logLevel: "error"
} as const

const bundle = async (
  contents: string,
  external: ReadonlyArray<string>,
  format: "esm" | "cjs" = "esm"
): Promise<Bundle> => {
  const { outputFiles } = await build({
    ...options,
    stdin: { contents, resolveDir: root },
    format,
    external: ["ioredis", ...external]
  })
  const { contents: code, text } = outputFiles[0]!
  return { code: text, bytes: code.length, gzipped: gzipSync(code, { level: 9 }).length }
}

/** A program with a custom node, which never loads what nodes given as URLs need. */
const withoutUrls = `
import * as Effect from "effect/Effect"
import { Redsync, withLock } from "effect-redsync"
export const run = (node, name, program) =>
  Effect.runPromise(Effect.provide(withLock(name, program), Redsync.layer({ nodes: [node] })))
`

/** The part of a program without URLs that is loaded at once, and the files it is made of. */
export const bundleWithoutUrls = async (): Promise<Bundle & { readonly inputs: ReadonlyArray<string> }> => {
  const { metafile: { outputs }, outputFiles } = await build({
    ...options,
    absWorkingDir: root,
    stdin: { contents: withoutUrls, resolveDir: root },
    format: "esm",
    external: ["effect"],
    splitting: true,
    outdir: "out",
    metafile: true
  })
  const loaded = new Set<string>()
  const load = (path: string) => {
    if (loaded.has(path) || outputs[path] === undefined) return
    loaded.add(path)
    for (const { kind, path: imported } of outputs[path].imports) if (kind === "import-statement") load(imported)
  }
  load("out/stdin.js")
  const files = outputFiles.filter(({ path }) => loaded.has(relative(root, path)))
  return {
    code: files.map(({ text }) => text).join("\n"),
    bytes: files.reduce((sum, { contents }) => sum + contents.length, 0),
    gzipped: files.reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0),
    inputs: [...loaded].flatMap((path) => Object.keys(outputs[path]!.inputs))
  }
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
