/**
 * The state of the demo: what each worker does, how the nodes voted, and the figures for
 * the summary. All contenders are in this one process, so it can tell what the lock itself
 * cannot show: whether two of them held it at once.
 */

export type Vote = "✓" | "✗" | "·"

export interface Worker {
  readonly name: string
  state: "resting" | "waiting" | "holding"
  turns: number
}

export interface Node {
  readonly id: string
  /** Whether the demo keeps the workers from reaching it. */
  cutOff: boolean
  /** Whether it answered the last request for its vote. */
  answers: boolean
}

/** One attempt of one worker on all nodes, identified by its random value. */
export interface Attempt {
  readonly value: string
  readonly votes: Array<Vote | undefined>
}

export interface Outage {
  readonly node: Node
  readonly from: number
  readonly to: number
  readonly turns: number
}

/** As many as the live view has columns for. */
const attemptsKept = 50

export class Board {
  readonly startedAt: number
  readonly seconds: number
  readonly workers: ReadonlyArray<Worker>
  readonly nodes: ReadonlyArray<Node>
  readonly attempts: Array<Attempt> = []
  readonly handOvers: Array<number> = []
  readonly waits: Array<number> = []
  headline = ""
  outage: Outage | undefined
  overlaps = 0
  refused = 0
  lost = 0
  leftBehind = 0
  #inside = 0
  #freeSince: number | undefined

  constructor(nodes: ReadonlyArray<string>, startedAt: number, seconds: number) {
    this.startedAt = startedAt
    this.seconds = seconds
    this.workers = Array.from(
      { length: 8 },
      (_, index) => ({ name: `worker ${index + 1}`, state: "resting", turns: 0 })
    )
    this.nodes = nodes.map((id) => ({ id, cutOff: false, answers: true }))
  }

  get quorum(): number {
    return Math.floor(this.nodes.length / 2) + 1
  }

  get acquisitions(): number {
    return this.waits.length
  }

  enter(worker: Worker, now: number, waited: number): void {
    worker.state = "holding"
    worker.turns++
    this.waits.push(waited)
    if (this.#freeSince !== undefined) this.handOvers.push(now - this.#freeSince)
    if (++this.#inside > 1) this.overlaps++
  }

  leave(worker: Worker, now: number): void {
    worker.state = "resting"
    this.#inside--
    this.#freeSince = now
  }

  /** Records that a node is asked for its vote; returns a function to call with the answer. */
  asked(value: string, node: number): (vote: Vote) => void {
    let attempt = this.attempts.find((attempt) => attempt.value === value)
    if (attempt === undefined) {
      attempt = { value, votes: this.nodes.map(() => undefined) }
      this.attempts.push(attempt)
      if (this.attempts.length > attemptsKept) this.attempts.shift()
    }
    const { votes } = attempt
    return (vote) => {
      votes[node] = vote
      this.nodes[node]!.answers = vote !== "·"
    }
  }

  /** The last votes of a node, the newest to the right, from attempts on which all nodes have voted. */
  votes(node: number, count: number): ReadonlyArray<Vote> {
    return this.attempts.flatMap(({ votes }) => votes.includes(undefined) ? [] : [votes[node]!]).slice(-count)
  }
}
