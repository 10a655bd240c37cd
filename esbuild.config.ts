/**
 * Builds the command line: one program that carries what it needs, so that it runs wherever Node does, whatever else is
 * installed. What only some commands use is in files of its own beside it.
 */
import { build, type Metafile, type Plugin } from "esbuild"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { launcher } from "./src/cli/run/launcher.ts"

const root = fileURLToPath(new URL(".", import.meta.url))

/**
 * What is loaded at once, and no command needs, or not before it meets TLS or is asked for help. `debug` and `assert` also
 * make standard error non-blocking if it is a pipe.
 */
const lighter: Plugin = {
  name: "lighter",
  setup(build) {
    const instead = new Map(Object.entries({
      "tls": "exports.connect = (...args) => require(\"node:tls\").connect(...args)",
      "debug": "exports.default = () => Object.assign(() => {}, { enabled: false })",
      "./cluster": "exports.default = class Cluster {}",
      "assert": "module.exports = Object.assign(() => {}, { strictEqual: () => {} })"
    }))
    build.onResolve(
      { filter: /^(tls|debug|assert|\.\/cluster)$/ },
      ({ importer, kind, path }) =>
        kind === "require-call" && /\/(ioredis|redis-errors)\//.test(importer) ? { path, namespace: "lighter" } : null
    )
    build.onLoad({ filter: /.*/, namespace: "lighter" }, ({ path }) => ({ contents: instead.get(path)! }))
    // Methods for each command of Redis, of which few are called.
    build.onLoad({ filter: /\/ioredis\/built\/utils\/Commander\.js$/ }, ({ path }) => {
      const [source, all] = [readFileSync(path, "utf8"), `commands_1.list.filter((command) => command !== "monitor")`]
      if (!source.includes(all)) throw new Error(`${path} lists its commands in another way`)
      const texts = [join(path, "../.."), join(root, "src")].flatMap((directory) =>
        readdirSync(directory, { recursive: true, encoding: "utf8" })
          .filter((file) => /\.[jt]s$/.test(file))
          .map((file) => readFileSync(join(directory, file), "utf8"))
      )
      const { list }: { readonly list: ReadonlyArray<string> } = createRequire(path)("@ioredis/commands")
      const called = list.filter((command) =>
        command !== "monitor" && texts.some((text) => text.includes(`.${command}(`))
      )
      return { contents: source.replace(all, JSON.stringify(called)) }
    })
    // To lay out the help. It takes a third of the time that Node takes to start.
    build.onLoad({ filter: /\/effect\/dist\/cli\/CliOutput\.js$/ }, ({ path }) => {
      const [source, eager] = [readFileSync(path, "utf8"), /new Intl\.Segmenter\(([^)]*)\)/]
      if (!eager.test(source)) throw new Error(`${path} makes no segmenter at once any more`)
      const whenNeeded = "{ segment(text) { return (this.own ??= new Intl.Segmenter($1)).segment(text) } }"
      return { contents: source.replace(eager, whenNeeded) }
    })
  }
}

/** `bin.js` in the directory, with its parts in `cli/` there. */
export const buildCommandLine = async (directory: string): Promise<void> => {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ["src/bin.ts"],
    outdir: directory,
    chunkNames: "cli/[name]-[hash]",
    bundle: true,
    splitting: true,
    platform: "node",
    format: "esm",
    target: "node20",
    // For what of it is CommonJS.
    banner: { js: "import { createRequire } from \"node:module\"\nconst require = createRequire(import.meta.url)" },
    plugins: [lighter],
    legalComments: "none",
    // Half of it is quicker to load; names stay, for stack traces.
    minifySyntax: true,
    minifyWhitespace: true,
    // Node shows the line of an uncaught error.
    lineLimit: 160,
    logLevel: "warning",
    metafile: true
  })
  const program = join(directory, "bin.js")
  writeFileSync(program, launcher + readFileSync(program, "utf8").replace(/^#!.*\n/, ""), { mode: 0o755 })
  mkdirSync(join(directory, "cli"), { recursive: true })
  writeFileSync(join(directory, "cli", "LICENSES.txt"), licenses(metafile))
}

/** Of the packages that the program carries. */
const licenses = ({ inputs }: Metafile): string => {
  const packages = new Set(
    Object.keys(inputs).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(path)?.[0] ?? [])
  )
  return [...packages].sort().map((path) => {
    const directory = join(root, path)
    const { license, name, version } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"))
    const text = readdirSync(directory).find((file) => /^licen[cs]e/i.test(file))
    return `${name} ${version} (${license})\n\n${text === undefined ? "" : readFileSync(join(directory, text), "utf8")}`
  }).join(`\n${"-".repeat(80)}\n\n`)
}

if (import.meta.main) await buildCommandLine(join(root, "dist"))
