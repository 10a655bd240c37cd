/** What a program with locks gets longer by, to load and to start. */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdirSync, writeFileSync } from "node:fs"
import { fileURLToPath, pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { alternating, type Scenario } from "../scenario.ts"
import { range } from "../table.ts"
import { budgetBytes } from "./budget.ts"
import { bundleOurs, bundleOursWithEffect, bundlePeers } from "./bundle.ts"

/** Inside of `node_modules`, so that the bundles find what they do not contain. */
const directory = fileURLToPath(new URL("../../../node_modules/.cache/effect-redsync-bench", import.meta.url))

const labels = {
  ours: "effect-redsync, in a program that already has Effect",
  withEffect: "effect-redsync and what it needs of Effect"
}

export const size: Scenario = (setting) =>
  Effect.gen(function*() {
    const bundles = yield* Effect.promise(async () => ({
      [labels.ours]: await bundleOurs(),
      [labels.withEffect]: await bundleOursWithEffect(),
      ...Object.fromEntries(await bundlePeers())
    }))
    mkdirSync(directory, { recursive: true })
    const urls: Record<string, string> = {}
    for (const [index, [name, { code }]] of Object.entries(bundles).entries()) {
      const file = `${directory}/${index}.${Object.values(labels).includes(name) ? "mjs" : "cjs"}`
      writeFileSync(file, code)
      urls[name] = pathToFileURL(file).href
    }
    // A second copy: what it imports is there already when it is timed.
    const again = `${directory}/again.mjs`
    writeFileSync(again, bundles[labels.ours]!.code)
    const loaded = { [labels.ours]: pathToFileURL(again).href }

    const names = Object.keys(bundles)
    const times = yield* alternating(
      names,
      setting.quick ? 1 : setting.rounds ?? 10,
      (name) => importMillis(loaded[name] === undefined ? [] : [urls[name]!], loaded[name] ?? urls[name]!)
    )
    const table = {
      title: "Minified bundle, and time to import it, without ioredis",
      rows: [
        ["", "KiB", "KiB gzipped", "import ms"],
        ...names.map((name) => [
          name,
          (bundles[name]!.bytes / 1024).toFixed(1),
          (bundles[name]!.gzipped / 1024).toFixed(1),
          range(times[name]!)
        ])
      ]
    }
    return {
      tables: [table],
      readme: [table],
      aims: [{
        is: `our part is ${bundles[labels.ours]!.gzipped} bytes gzipped; its budget ${budgetBytes}`,
        met: bundles[labels.ours]!.gzipped <= budgetBytes
      }],
      samples: {
        bytes: Object.fromEntries(names.map((name) => [name, [bundles[name]!.bytes, bundles[name]!.gzipped]])),
        importMillis: times
      }
    }
  })

/** How long an import takes in a new process, after ioredis and others. */
const importMillis = (before: ReadonlyArray<string>, url: string): Effect.Effect<number> =>
  Effect.promise(async () => {
    const imports = ["ioredis", ...before].map((from) => `await import(${JSON.stringify(from)});`).join("")
    const timed = `const start = performance.now(); await import(${JSON.stringify(url)});`
    const print = `console.log(performance.now() - start)`
    const { stdout } = await promisify(execFile)(process.execPath, [
      "--input-type=module",
      "-e",
      imports + timed + print
    ])
    return Number(stdout)
  })
