/**
 * The tree of a command: every process that it started, and that those started,
 * as far as the system lets one see.
 */
import { find, type Process, processes } from "./processes.ts"

export class Tree {
  /** Text that stands in the environment of all that has not cleared it. */
  readonly #mark: string
  /** When the first process of the tree was started, or before. */
  readonly #since: number
  /** When those found so far were started, by their number. */
  #known: ReadonlyMap<number, number> = new Map()
  /** Numbers of those whose groups and sessions belong to the tree, also after their own end. */
  #leaders: ReadonlySet<number> = new Set()

  /** `older` is a process that was started before the first of the tree. */
  constructor(mark: string, older: number | undefined) {
    this.#mark = mark
    this.#since = older === undefined ? 0 : find(older)?.start ?? 0
  }

  /** The process that all others descend from, when it was started, and whether it leads a group of its own. */
  begin(pid: number, start: number, leads: boolean): void {
    this.#known = new Map([[pid, start]])
    if (leads) this.#leaders = new Set([pid])
  }

  /** Those that live. */
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
