/**
 * Tries what may happen, history by history, each from its beginning: messages
 * arrive in the order in which they were sent, but for a bounded number of
 * deviations. A history ends where it reaches a state that was seen before with as many
 * deviations left.
 */
import { expiryMillis, History, nodeTimeoutMillis, type Scenario } from "./scenario.ts"
import { type Choice, isFault, type World } from "./world.ts"

export interface Bounds {
  /** How often something else happens than the next message's arrival. */
  readonly deviations: number
  /** How many of them are losses, standstills or crashes. */
  readonly faults: number
}

export interface Explored {
  readonly histories: number
  readonly states: number
  readonly steps: number
  /** The first history that breaks a promise, as a timeline. */
  readonly violation: ReadonlyArray<string> | undefined
}

/** What happens otherwise than by default, by the number of the step. */
type Deviations = ReadonlyArray<readonly [step: number, choice: Choice]>

export const explore = (scenario: Scenario, bounds: Bounds): Explored => {
  /** The most deviations that were left when a state was seen. */
  const seen = new Map<number, number>()
  const open: Array<Deviations> = [[]]
  let histories = 0
  let steps = 0
  for (let deviations = open.pop(); deviations !== undefined; deviations = open.pop()) {
    histories++
    const history = new History(scenario)
    const from = deviations.length === 0 ? 0 : deviations.at(-1)![0] + 1
    const left = bounds.deviations - deviations.length
    const faultsLeft = bounds.faults - deviations.filter(([, choice]) => isFault(choice)).length
    for (let step = 0, next = 0;; step++, steps++) {
      if (step >= from) {
        // Faults are part of it: the same state has as many faults left.
        const state = history.world.fingerprint
        if ((seen.get(state) ?? -1) >= left) break
        seen.set(state, left)
        if (left > 0) {
          for (const choice of choices(history.world, faultsLeft > 0)) open.push([...deviations, [step, choice]])
        }
      }
      const choice = deviations[next]?.[0] === step ? deviations[next++]![1] : undefined
      if (!history.step(choice)) break
    }
    if (history.violations.length > 0) {
      return { histories, states: seen.size, steps, violation: replay(scenario, deviations) }
    }
  }
  return { histories, states: seen.size, steps, violation: undefined }
}

/** What else may happen now. */
const choices = (world: World, mayFail: boolean): ReadonlyArray<Choice> => {
  const found: Array<Choice> = []
  if (world.isArrival) {
    const { next, open } = world
    for (const channel of open) {
      if (channel !== next!.channel) found.push({ _tag: "First", channel: channel.index })
    }
    if (open.length > 1) found.push({ _tag: "Last" })
    if (mayFail) {
      found.push(
        { _tag: "Lost" },
        { _tag: "Late", millis: 0.8 * nodeTimeoutMillis },
        { _tag: "Late", millis: 1.5 * nodeTimeoutMillis },
        { _tag: "Late", millis: 1.5 * expiryMillis }
      )
    }
  }
  if (!mayFail) return found
  for (const { frozenUntil, index, interrupt, isDead } of world.processes) {
    if (isDead || frozenUntil > world.now) continue
    if (interrupt !== undefined) found.push({ _tag: "Interrupt", process: index })
    found.push({ _tag: "Crash", process: index }, { _tag: "Freeze", process: index, millis: 1.5 * expiryMillis })
  }
  return found
}

const replay = (scenario: Scenario, deviations: Deviations): ReadonlyArray<string> => {
  const history = new History(scenario, true)
  let next = 0
  for (let step = 0;; step++) {
    const choice = deviations[next]?.[0] === step ? deviations[next++]![1] : undefined
    if (!history.step(choice)) return history.world.timeline!
  }
}
