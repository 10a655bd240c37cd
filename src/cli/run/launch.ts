/**
 * What a process is given by whoever starts it, and Node takes away before any
 * script runs. The launcher has noted it, for the command to get it back.
 */
import { constants } from "node:os"

export interface Launch {
  /** The signals that were ignored, and are to stay so. */
  readonly ignored: ReadonlySet<NodeJS.Signals>
  /** The soft limit of open files, as `ulimit` has it. */
  readonly openFiles: string | undefined
  /** The descriptors that were open, besides standard input, output and error. */
  readonly descriptors: ReadonlyArray<number>
  /** Variables of the environment that a shell would drop, as `name=value`. */
  readonly dropped: ReadonlyArray<string>
}

const nothing: Launch = { ignored: new Set(), openFiles: undefined, descriptors: [], dropped: [] }

/** What the launcher has noted, if it started this process. */
export const readLaunch = (note: string | undefined, pid: number): Launch => {
  const [, starter, ignored = "", openFiles, descriptors = "", dropped = ""] =
    /^(\d+)\|([^|]*)\|([^|]*)\|([^|]*)\|(.*)$/s.exec(note ?? "") ?? []
  if (Number(starter) !== pid) return nothing
  return {
    ignored: readIgnored(ignored),
    openFiles: openFiles === "" ? undefined : openFiles,
    descriptors: [...descriptors.matchAll(/\d+/g)].map(Number).filter((descriptor) => descriptor > 2),
    dropped: dropped.split("\n").filter((variable) => variable.includes("=")).map((variable) =>
      variable.replaceAll("\x01", "\n")
    )
  }
}

/** The system's mask of bits, where it has one, the first of which stands for signal 1, and names. SIGQUIT counts by its name. */
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

const { REDSYNC_LAUNCH: note } = process.env
delete process.env["REDSYNC_LAUNCH"]

/** How this process was started. */
export const launch: Launch = readLaunch(note, process.pid)

for (const variable of launch.dropped) {
  const end = variable.indexOf("=")
  process.env[variable.slice(0, end)] = variable.slice(end + 1)
}
