/**
 * Every TypeScript block of the pages and of the doc comments in `src` is
 * type-checked, and run: on real servers where it asks for `REDSYNC_NODES`. So are
 * the recipes, which are files of their own. A comment `// => text` after a line
 * says what that line prints. A block that names a file is that file, word for word.
 */
import { assert, describe, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { formatWithOptions } from "node:util"
import { afterAll, beforeAll, test } from "vitest"
import { until } from "../support/faults.ts"
import { pages, readPage, root } from "../support/pages.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"

const directory = join(root, "test", ".examples")

interface Example {
  readonly title: string
  readonly file: string
  readonly code: string
}

const examplesIn = (path: string): Array<Example> => {
  const text = readPage(path)
  const prose = path.endsWith(".md") ? text : text.replaceAll(/^ *\* ?/gm, "")
  const name = path.replaceAll(/[/.]/g, "-")
  return [...prose.matchAll(/^```ts(?: \S+)?\n(.*?)^```/gms)].map(([, code = ""], index) => ({
    title: `${path} #${index + 1}`,
    file: join(directory, `${name}-${index + 1}.ts`),
    code
  }))
}

const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => `src/${path}`)

const blocks = [...pages, ...sources].flatMap(examplesIn)

const recipes = readdirSync(join(root, "test/examples/recipes")).map((name): Example => {
  const file = join(root, "test/examples/recipes", name)
  return { title: `the recipe ${name}`, file, code: readFileSync(file, "utf8") }
})

const examples = [...blocks, ...recipes]

beforeAll(() => {
  mkdirSync(directory, { recursive: true })
  for (const { code, file } of blocks) writeFileSync(file, `${code}\nexport {}\n`)
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe("documentation", () => {
  test("there are examples", () => {
    assert.isAbove(examples.length, 10)
  })

  test("blocks that name a file have its text", () => {
    const named = pages.flatMap((page) => [...readPage(page).matchAll(/^```ts (\S+)\n(.*?)^```/gms)])
    assert.isAtLeast(named.length, 3)
    for (const [, path = "", code] of named) assert.strictEqual(code, readFileSync(join(root, path), "utf8"), path)
  })

  test("all examples type-check", () => {
    const config = join(directory, "tsconfig.json")
    writeFileSync(
      config,
      JSON.stringify({
        extends: "../../tsconfig.json",
        compilerOptions: { noUnusedLocals: false },
        include: ["*.ts"],
        exclude: []
      })
    )
    execFileSync(join(root, "node_modules", ".bin", "tsc"), ["-p", config], { stdio: "pipe", encoding: "utf8" })
  })
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("documentation", (it) => {
  it.effect.each(examples)("$title prints what it says", ({ code, file }) =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      process.env["REDSYNC_NODES"] = servers.map(({ url }) => url).join(",")
      const printed: Array<string> = []
      const log = console.log
      console.log = (...args: ReadonlyArray<unknown>) => void printed.push(formatWithOptions({}, ...args))
      const expected = [...code.matchAll(/^ *\/\/ => (.*)$/gm)].map(([, line]) => line)
      // What `runMain` runs has only begun when the module is loaded.
      const end = until("it prints all that it says", Effect.sync(() => printed.length >= expected.length))
      yield* Effect.promise(() => import(/* @vite-ignore */ pathToFileURL(file).href)).pipe(
        Effect.andThen(code.includes("runMain") ? end : Effect.void),
        Effect.ensuring(Effect.sync(() => {
          console.log = log
        }))
      )
      assert.deepStrictEqual(printed, expected)
    }), 120_000)
})
