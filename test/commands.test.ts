/**
 * The commands for development: their flags.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import manifest from "../package.json" with { type: "json" }

const commands = Object.entries(manifest.scripts).flatMap(([name, script]) => {
  const file = /^node (test\/\S+\.ts)$/.exec(script)?.[1]
  const source = file === undefined ? "" : readFileSync(file, "utf8")
  return source.includes("parseFlags(") ? [{ name, file: file!, source }] : []
})

/** Runs a command that finds no program to start. */
const run = (file: string, flag: string) =>
  new Promise<{ readonly code: unknown; readonly stdout: string; readonly stderr: string }>((resolve) => {
    execFile(process.execPath, [file, flag], { env: { PATH: "" } }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, stdout, stderr })
    })
  })

/** What remains where lines and the frame of a comment do not count. */
const letters = (text: string) => text.replaceAll(/[\s*]+/g, "")

describe("commands", () => {
  it("are all that have flags", () => {
    assert.sameMembers(
      commands.map(({ name }) => name),
      ["bench", "chaos", "fuzz", "simulate", "test:long", "test:runtimes", "test:servers"]
    )
  })

  it.each(commands)("$name --help lists every flag, and starts nothing", async ({ file, source }) => {
    const { code, stderr, stdout } = await run(file, "--help")
    assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
    const [, comment] = /^(?:#!.*\n)?\/\*\*\n([^]*?)\*\//.exec(source)!
    assert.strictEqual(letters(stdout), letters(comment!))
    const flags = [...source.matchAll(/(\w+): \{ type: "(?:string|boolean)"/g)].map(([, flag]) => `--${flag!}`)
    assert.isNotEmpty(flags)
    for (const flag of flags) assert.include(stdout, flag)
  })

  it("end at a flag that they do not know", async () => {
    const { code, stderr, stdout } = await run("test/simulation/main.ts", "--sed=42")
    assert.deepStrictEqual({ code, stdout }, { code: 2, stdout: "" })
    assert.match(stderr, /'--sed'.*\. --help lists the flags\n$/)
  })
})
