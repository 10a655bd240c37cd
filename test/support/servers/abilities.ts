/**
 * What the servers under test can do. Versions differ in what they know and in
 * how they say it, and the tests expect of each what is true of it.
 */
import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { serverProgram } from "./ServerSource.ts"

const run = promisify(execFile)

export interface Abilities {
  /** Of Redis or Valkey: Redis from 7.0 on has all that is told here. */
  readonly version: string
  /** Built with TLS. */
  readonly tls: boolean
  /** Counts, names and forbids subcommands one by one, such as `client|id`; since Redis 7.0. */
  readonly knowsSubcommands: boolean
  /** A Sentinel can be told to look more often, by `SENTINEL DEBUG`; since Redis 7.0. */
  readonly hastySentinels: boolean
}

let current: Promise<Abilities> | undefined

/** Of the program that serves the tests, found out once. */
export const abilities = (): Promise<Abilities> => current ??= find()

const find = async (): Promise<Abilities> => {
  const { program } = await serverProgram()
  const { stdout } = await run(program, ["--version"])
  const version = /v=(\S+)/.exec(stdout)?.[1] ?? ""
  const isSince7 = Number.parseInt(version) >= 7
  // It ends at once: for want of a certificate, or because it was built without.
  const complaint = await run(program, ["--port", "0", "--tls-port", "1"], { timeout: 10_000 }).then(
    ({ stderr, stdout }) => stdout + stderr,
    (error: { readonly stdout: string; readonly stderr: string }) => error.stdout + error.stderr
  )
  return {
    version,
    tls: complaint.includes("tls-cert-file"),
    knowsSubcommands: isSince7,
    hastySentinels: isSince7
  }
}

/** What the library runs of `CLIENT`. */
const ofClient = ["id", "info", "kill", "setinfo", "tracking"]

/** The rule for a user who may run all of `CLIENT` that we do but this. Until Redis 7.0 a subcommand can be allowed only. */
export const allOfClientBut = async (subcommand: string): Promise<ReadonlyArray<string>> =>
  (await abilities()).knowsSubcommands
    ? [`-client|${subcommand}`]
    : ["-client", ...ofClient.filter((other) => other !== subcommand).map((other) => `+client|${other}`)]
