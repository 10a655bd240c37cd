/**
 * The process tree of a command: every process that it or a descendant started, as far
 * as the system shows them.
 */
import { find, type Process, processes } from "./processes.ts"

export class Tree {
  /** Text in the environment of every process of the tree that has not cleared it. */
  readonly #mark: string
  /** A time not later than the start of the tree's first process. */
  readonly #since: number
  /** When the processes found so far were started, by pid. */
  #known: ReadonlyMap<number, number> = new Map()
  /** The pids of leaders whose groups and sessions belong to the tree, even after the leaders' end. */
  #leaders: ReadonlySet<number> = new Set()

  /** `older` is a process that was started before the tree's first process. */
  constructor(mark: string, older: number | undefined) {
    this.#mark = mark
    this.#since = older === undefined ? 0 : find(older)?.start ?? 0
  }

  /** The root process, when it was started, and whether it leads a group of its own. */
  begin(pid: number, start: number, leads: boolean): void {
    this.#known = new Map([[pid, start]])
    if (leads) this.#leaders = new Set([pid])
  }

  /** The living processes. */
  members(): ReadonlyArray<Process> {
    const candidates = processes().filter(({ start }) => start >= this.#since)
    const members = new Map(
      candidates
        .filter((process) => this.#known.get(process.pid) === process.start || process.hasInEnvironment(this.#mark))
        .map((process) => [process.pid, process])
    )
    const belongs = ({ group, parent, session }: Process) =>
      members.has(parent) || [group, session].some((leader) => members.has(leader) || this.#leaders.has(leader))
    let size
    do {
      size = members.size
      for (const process of candidates) if (belongs(process)) members.set(process.pid, process)
    } while (members.size > size)
    const found = [...members.values()]
    this.#leaders = new Set(
      found
        .flatMap(({ group, session }) => [group, session])
        .filter((leader) => members.has(leader) || this.#leaders.has(leader))
    )
    this.#known = new Map(found.map(({ pid, start }) => [pid, start]))
    return found
  }
}
