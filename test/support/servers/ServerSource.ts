/**
 * Where the tests' Redis servers come from.
 *
 * The suite never skips a test for want of a server: it takes containers where
 * a container runtime answers, else a Redis or Valkey program on the PATH, else
 * installs one if it may, and else fails with one line that says what to do.
 * `globalSetup.ts` decides this once for a run; a program outside of vitest (a
 * benchmark, an example) decides for itself on first use.
 */
import { execFile } from "node:child_process"
import { existsSync, rmSync, writeFileSync } from "node:fs"
import { promisify } from "node:util"

const run = promisify(execFile)

export type ServerSource = ContainerSource | ProgramSource

export interface ContainerSource {
  readonly kind: "containers"
  readonly image: string
  readonly program: string
  readonly description: string
}

export interface ProgramSource {
  readonly kind: "processes"
  readonly program: string
  /** Whether `setpriv --pdeathsig` is there, to end servers whose parent was killed. */
  readonly setpriv: boolean
  readonly description: string
}

/** Forces one kind: `containers` or `processes`. */
const override = "REDSYNC_TEST_SERVERS"

/** Carries the decision, as JSON, from the process that made it to its children. */
const decided = "REDSYNC_TEST_SERVERS_DECIDED"

/** Another image than Redis', such as that of Valkey. */
const otherImage = "REDSYNC_TEST_IMAGE"

/** A server program, by name or path, instead of the one on the PATH; then servers are processes. */
const otherProgram = "REDSYNC_TEST_PROGRAM"

let current: Promise<ServerSource> | undefined

/** The source for this run, decided on the first call. */
export const serverSource = (): Promise<ServerSource> => current ??= decide()

/**
 * A server program of this machine, for servers that have to reach each other or
 * its files, whatever the others run on.
 */
export const serverProgram = async (): Promise<ProgramSource> => {
  const source = await serverSource()
  return source.kind === "processes" ? source : program ??= processes()
}

let program: Promise<ProgramSource> | undefined

const decide = async (): Promise<ServerSource> => {
  const inherited = process.env[decided]
  if (inherited !== undefined) return JSON.parse(inherited)
  const source = await find(process.env[override])
  process.env[decided] = JSON.stringify(source)
  return source
}

const find = async (forced: string | undefined): Promise<ServerSource> => {
  switch (forced) {
    case undefined:
    case "":
      if (process.env[otherProgram]) return processes()
      return await containers().catch(() => undefined) ?? await processes()
    case "containers":
      return containers()
    case "processes":
      return processes()
    default:
      throw new Error(`${override} is "${forced}", but must be "containers" or "processes"`)
  }
}

const containers = async (): Promise<ServerSource> => {
  try {
    // Loaded only here: testcontainers does not load on every Node this runs on.
    const { getContainerRuntimeClient, ImageName } = await import("testcontainers")
    const client = await within(5_000, getContainerRuntimeClient())
    const image = process.env[otherImage] ?? "redis:7.0-alpine"
    // Now, so that no test pays for the download with its own time limit.
    await client.image.pull(ImageName.fromString(image))
    const program = image.includes("valkey") ? "valkey-server" : "redis-server"
    return { kind: "containers", image, program, description: `${image} containers` }
  } catch (cause) {
    throw new Error(
      `No container runtime for the tests' Redis servers (${
        messageOf(cause)
      }): start one, or run npm test without ${override}`,
      { cause }
    )
  }
}

const within = async <A>(millis: number, promise: Promise<A>): Promise<A> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${millis} ms`)), millis)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

const processes = async (): Promise<ProgramSource> => {
  const other = process.env[otherProgram]
  const found = other ? await named(other) : await findProgram() ?? await install().then(findProgram)
  if (found === undefined && other) throw new Error(`${otherProgram} is "${other}", which cannot be run`)
  if (found === undefined) {
    throw new Error(
      "No Redis servers for the tests: start a container runtime, or put redis-server or valkey-server on the PATH"
    )
  }
  const setpriv = await run("setpriv", ["--pdeathsig", "KILL", "true"]).then(() => true, () => false)
  return {
    kind: "processes",
    program: found.program,
    setpriv,
    description: `${found.program} ${found.version} processes`
  }
}

interface Program {
  readonly program: string
  readonly version: string
}

const findProgram = async (): Promise<Program | undefined> =>
  await named("redis-server") ?? await named("valkey-server")

const named = async (program: string): Promise<Program | undefined> => {
  const version = await run(program, ["--version"]).then(({ stdout }) => stdout, () => undefined)
  return version === undefined ? undefined : { program, version: /v=(\S+)/.exec(version)?.[1] ?? "" }
}

/**
 * Installs Debian's package, which starts a service unless its policy script
 * forbids that: the tests want the program only.
 */
const install = async (): Promise<void> => {
  const isDebianRoot = process.getuid?.() === 0 && await run("apt-get", ["--version"]).then(() => true, () => false)
  if (!isDebianRoot) return
  console.log("Redis servers for tests: none found, installing the redis-server package")
  const policy = "/usr/sbin/policy-rc.d"
  const ownPolicy = !existsSync(policy)
  if (ownPolicy) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 })
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" }
    await run("apt-get", ["update"], { env })
    await run("apt-get", ["install", "-y", "redis-server"], { env, maxBuffer: 16 * 1024 * 1024 })
    // Neither now nor after the next boot.
    await run("update-rc.d", ["redis-server", "disable"]).catch(() => undefined)
  } catch (cause) {
    throw new Error(
      `Installing redis-server for the tests failed, install it by hand: ${messageOf(cause)}`,
      { cause }
    )
  } finally {
    if (ownPolicy) rmSync(policy, { force: true })
  }
}

const messageOf = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).trim().split("\n").at(-1) ?? ""
