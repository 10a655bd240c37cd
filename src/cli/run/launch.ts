/**
 * What a process inherits and Node takes away before any script runs. The launcher has
 * noted it, so that the command gets it back.
 */
import { constants } from "node:os"

export interface Launch {
  /** The signals that were ignored, and must stay ignored. */
  readonly ignored: ReadonlySet<NodeJS.Signals>
  /** The soft limit on open files, as `ulimit` prints it. */
  readonly openFiles: string | undefined
  /** The descriptors that were open besides standard input, output and error. */
  readonly descriptors: ReadonlyArray<number>
  /** Variables of the environment that a shell would drop, as `name=value`. */
  readonly dropped: ReadonlyArray<string>
}

const nothing: Launch = { ignored: new Set(), openFiles: undefined, descriptors: [], dropped: [] }

/** The launcher's variables. */
const noted = /^REDSYNC_LAUNCH(_\d+)?$/

/** What the launcher noted in the environment, if it started this process. */
export const readLaunch = (env: NodeJS.ProcessEnv, pid: number): Launch => {
  const { REDSYNC_LAUNCH = "", ...others } = env
  const [, starter, ignored = "", openFiles, descriptors = ""] = /^(\d+)\|([^|]*)\|([^|]*)\|([^|]*)$/.exec(
    REDSYNC_LAUNCH
  ) ?? []
  if (Number(starter) !== pid) return nothing
  return {
    ignored: readIgnored(ignored),
    openFiles: openFiles === "" ? undefined : openFiles,
    descriptors: [...descriptors.matchAll(/\d+/g)].map(Number).filter((descriptor) => descriptor > 2),
    dropped: Object.entries(others).flatMap(([name, variable = ""]) =>
      noted.test(name) && variable.includes("=") ? [variable.replaceAll("\x01", "\n")] : []
    )
  }
}

/** Reads the system's bit mask, if there is one, whose first bit stands for signal 1, and names. SIGQUIT counts only by name. */
const readIgnored = (noted: string): ReadonlySet<NodeJS.Signals> => {
  const [mask = "", ...names] = noted.split(",")
  const bits = /^[\da-f]+$/i.test(mask) ? BigInt(`0x${mask}`) : 0n
  const signals = Object.entries(constants.signals) as Array<[NodeJS.Signals, number]>
  return new Set(
    signals
      .filter(([name, number]) =>
        names.includes(name.slice(3)) || (name !== "SIGQUIT" && (bits >> BigInt(number - 1)) % 2n === 1n)
      )
      .map(([name]) => name)
  )
}

/** How this process was started. */
export const launch: Launch = readLaunch(process.env, process.pid)

for (const name of Object.keys(process.env)) if (noted.test(name)) delete process.env[name]
for (const variable of launch.dropped) {
  const end = variable.indexOf("=")
  process.env[variable.slice(0, end)] = variable.slice(end + 1)
}
