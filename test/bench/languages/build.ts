/** Builds the programs of other languages, where their toolchains are there. */
import { Effect, type Scope } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

/** A program and its arguments, before the addresses of the servers. */
export type Command = readonly [program: string, ...args: ReadonlyArray<string>]

export interface Built {
  readonly commands: ReadonlyMap<string, Command>
  /** For each language whose programs could not be built, which they are and why. */
  readonly leftOut: ReadonlyArray<string>
}

interface Language {
  readonly libraries: ReadonlyArray<string>
  readonly build: (directory: string) => Promise<ReadonlyArray<Command>>
}

const sources = fileURLToPath(new URL(".", import.meta.url))
const run = promisify(execFile)

const go: Language = {
  libraries: ["redsync", "rueidislock"],
  build: async (directory) => {
    await run("go", ["build", "-modcacherw", "-buildvcs=false", "-o", join(directory, "/"), "./..."], {
      cwd: join(sources, "go"),
      env: { ...process.env, GOMODCACHE: join(directory, "modules"), GOTOOLCHAIN: "local" }
    })
    return [[join(directory, "redsync")], [join(directory, "rueidislock")]]
  }
}

const java: Language = {
  libraries: ["Redisson"],
  build: async (directory) => {
    const jars = join(directory, "jars")
    const classes = join(directory, "classes")
    await run("mvn", [
      "--batch-mode",
      "--quiet",
      `--file=${join(sources, "java/pom.xml")}`,
      `-Dmaven.repo.local=${join(directory, "repository")}`,
      `-DoutputDirectory=${jars}`,
      "dependency:copy-dependencies"
    ])
    await run("javac", ["-d", classes, "-cp", join(jars, "*"), join(sources, "java/MultiLock.java")])
    return [["java", "-cp", [classes, join(jars, "*")].join(delimiter), "MultiLock"]]
  }
}

/** Builds in a temporary directory, which is deleted with the scope and takes what is downloaded. */
export const build: Effect.Effect<Built, never, Scope.Scope> = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "redsync-languages-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )
  const commands = new Map<string, Command>()
  const leftOut: Array<string> = []
  for (const { build, libraries } of [go, java]) {
    yield* Effect.promise(async () => {
      try {
        const built = await build(directory)
        for (const [index, library] of libraries.entries()) commands.set(library, built[index]!)
      } catch (cause) {
        leftOut.push(`Left out: ${libraries.join(", ")}; ${reasonOf(cause as BuildError)}.`)
      }
    })
  }
  return { commands, leftOut }
})

interface BuildError extends NodeJS.ErrnoException {
  readonly stdout?: string
  readonly stderr?: string
}

/** Maven says on its standard output what went wrong. */
const reasonOf = ({ code, message, path, stderr, stdout }: BuildError) =>
  code === "ENOENT" ? `${path} is not installed` : (stderr || stdout || message).trim().split("\n")[0]!
