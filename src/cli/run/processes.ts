/**
 * The processes of this machine, as far as the system shows them.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"

export interface Process {
  readonly pid: number
  readonly parent: number
  readonly group: number
  readonly session: number
  /** When it was started, as a number that only grows; zero if unknown. */
  readonly start: number
  readonly name: string
  /** Whether its environment, as it was at the start, contains the text. */
  readonly hasInEnvironment: (text: string) => boolean
}

/** All living processes, without zombies. None if we cannot see any. */
export const processes = (): ReadonlyArray<Process> => {
  switch (source()) {
    case "proc":
      return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap(fromProc)
    case "ps":
      return fromPs()
    case "hidden":
      return []
  }
}

/** The process, unless it has ended. */
export const find = (pid: number): Process | undefined =>
  source() === "proc" ? fromProc(String(pid))[0] : processes().find((process) => process.pid === pid)

/** Where processes can be seen. In a namespace of its own, `/proc`, and so `ps`, may show those of another. */
const source = (): "proc" | "ps" | "hidden" => {
  try {
    return readlinkSync("/proc/self") === String(process.pid) ? "proc" : "hidden"
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" && !existsSync("/proc/1") ? "ps" : "hidden"
  }
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1")
  } catch {
    // It has ended, or belongs to another user.
    return ""
  }
}

const fromProc = (pid: string): ReadonlyArray<Process> => {
  const stat = read(`/proc/${pid}/stat`)
  // The name, in parentheses, may contain anything.
  const nameEnd = stat.lastIndexOf(")")
  if (nameEnd < 0) return []
  const [state = "", parent, group, session] = stat.slice(nameEnd + 2).split(" ")
  const [threads, , start] = stat.slice(nameEnd + 2).split(" ").slice(17)
  // The first thread of a process may end before the others.
  if (/[ZX]/.test(state) && Number(threads) <= 1) return []
  return [{
    pid: Number(pid),
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    start: Number(start),
    name: stat.slice(stat.indexOf("(") + 1, nameEnd),
    hasInEnvironment: (text) => read(`/proc/${pid}/environ`).includes(text)
  }]
}

/** The environment follows the command if the system shows it. */
const fromPs = (): ReadonlyArray<Process> => {
  try {
    return parsePs(execFileSync("ps", ["axeww", "-o", "pid=,ppid=,pgid=,stat=,command="], {
      encoding: "latin1",
      stdio: ["ignore", "pipe", "ignore"],
      maxBuffer: Infinity
    }))
  } catch {
    return []
  }
}

export const parsePs = (text: string): ReadonlyArray<Process> =>
  [...text.matchAll(/^ *(\d+) +(\d+) +(\d+) +(\S+) +(.*)$/gm)].flatMap(
    ([, pid, parent, group, state = "", command = ""]) =>
      state.startsWith("Z") ? [] : [{
        pid: Number(pid),
        parent: Number(parent),
        group: Number(group),
        session: Number(group),
        start: 0,
        name: command.split(" ", 1)[0]!,
        hasInEnvironment: (text) => command.includes(text)
      }]
  )
