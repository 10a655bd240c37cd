/**
 * A node whose server, and the network in front of it, do what a test says.
 *
 * It keeps its keys in a node in memory, and controls every operation of that node. Like a node
 * over ioredis it answers by callback, without a fiber, and executes what it was sent even if the
 * caller has been interrupted.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { NodeError } from "../../LockError.ts"
import type { LockNode, Notice, WaitingList } from "../../LockNode.ts"
import { isPlain } from "../base/arguments.ts"
import { CallbackEffect, type OnResult } from "../base/callbackEffect.ts"
import { monotonicMillis } from "../base/clock.ts"

/**
 * - `"up"`: answers at once
 * - `"silent"`: answers nothing; what it is sent is executed, in order, once it is up again
 * - `"down"`: fails at once and executes nothing
 * - `"deaf"`: answers nothing and executes nothing
 * - `"mute"`: executes what it is sent and answers nothing
 * - `rejects`: answers with this error and executes nothing
 * - `slow`: executes at once and answers this much later
 */
export type State =
  | "up"
  | "silent"
  | "down"
  | "deaf"
  | "mute"
  | { readonly rejects: string }
  | { readonly slow: Duration.Input }

/** An operation that was requested of the node. `value` is empty if the operation takes none. */
export interface Call {
  readonly operation: string
  readonly key: string
  readonly value: string
  /** In milliseconds, on the monotonic clock of the test. */
  readonly at: number
}

export interface ControlledNode extends LockNode {
  /** Every operation so far, in order, whatever became of it. */
  readonly calls: Array<Call>
  /** What the server stores, whatever its state. */
  readonly memory: LockNode
  /** The value that it stores under a key. */
  readonly valueOf: (key: string) => string | undefined
  /** How many operations, and notices, a silent node was sent and has not executed yet. */
  readonly pending: number
  /** Setting it to `"up"` executes, in the same step, what a silent node was sent. */
  state: State
  /** Sets the state to `"up"`, and gives all answers that are still owed. */
  readonly recover: () => void
  /** The server restarts empty: keys, counters, waiting lists and what it was sent are gone. */
  readonly wipe: Effect.Effect<void>
}

export interface Options {
  /** An empty server. */
  readonly memory: () => LockNode
  /** The time that a message takes to the node, and again the time that a reply takes back. */
  readonly distanceMillis?: number
  /** What happens to the notices of waiting lists; with `"absent"` the node has no such lists. */
  readonly notices?: "delivered" | "lost" | "absent"
  /** Merged into the node. */
  readonly abilities?: Partial<LockNode>
}

/** Time is measured by the clock of the fiber that makes the node. */
export const make = (options: Options): Effect.Effect<ControlledNode> =>
  Effect.contextWith((context: Context.Context<never>) => Effect.sync(() => makeWith(context, options)))

type Operation = (...args: ReadonlyArray<unknown>) => Effect.Effect<unknown, NodeError>

/** A waiting list that is open, on whichever memory the server has. */
interface OpenList {
  list: WaitingList
  readonly open: Effect.Effect<WaitingList>
  readonly onNotice: (notice: Notice) => void
}

const makeWith = (context: Context.Context<never>, options: Options): ControlledNode => {
  const { abilities, distanceMillis = 0, notices = "delivered" } = options
  const fork = Effect.runForkWith(context)
  const clock = Context.get(context, Clock.Clock)
  const calls: Array<Call> = []
  const lists = new Set<OpenList>()
  let memory = options.memory()
  let state: State = "up"
  /** What a silent server was sent. Each item is executed, or fails because the server has restarted. */
  let backlog: Array<(isLost: boolean) => void> = []
  /** The answers that a slow node has not given yet. */
  const unanswered = new Set<() => void>()

  /**
   * Puts all operations under control, including those of members; `current` returns them as they
   * are at the time of a call.
   */
  const controlled = <T extends object>(operations: T, current: () => T): T => {
    const now = () => current() as Record<string, Operation>
    const entries = Object.entries(operations).map(([name, member]: [string, unknown]) => {
      if (Predicate.isFunction(member)) {
        const operation: Operation = (...args) =>
          new Request((onResult) => send(name, args, () => now()[name]!(...args), onResult))
        return [name, operation]
      }
      const hasOperations = Predicate.isObject(member) && isPlain(member)
      return [name, hasOperations ? controlled<object>(member, () => now()[name]!) : member]
    })
    return Object.fromEntries(entries) as T
  }

  const send = <A>(
    operation: string,
    [key, value]: ReadonlyArray<unknown>,
    effect: () => Effect.Effect<A, NodeError>,
    onResult: OnResult<A>
  ): void => {
    calls.push({
      operation,
      key: key as string,
      value: Predicate.isString(value) ? value : "",
      at: monotonicMillis(clock)
    })
    after(distanceMillis, () => arrive(operation, effect, (answer) => after(distanceMillis, () => onResult(answer))))
  }

  const arrive = <A>(operation: string, effect: () => Effect.Effect<A, NodeError>, onResult: OnResult<A>): void => {
    const fail = (reason: "Disconnected" | "Rejected", cause: string) =>
      onResult(Result.fail(
        new NodeError({ node: node.id, operation: kindOf(operation), reason, cause: new Error(cause) })
      ))
    // What arrives while the backlog is executed is executed after it.
    if (state === "silent" || (backlog.length > 0 && isWorking(state))) {
      backlog.push((isLost) => isLost ? fail("Disconnected", "the server has restarted") : execute(effect, onResult))
    } else if (state === "up") execute(effect, onResult)
    else if (state === "mute") execute(effect, () => {})
    else if (state === "down") fail("Disconnected", "the server is down")
    else if (state === "deaf") return
    else if ("rejects" in state) fail("Rejected", state.rejects)
    else {
      const millis = Duration.toMillis(state.slow)
      execute(effect, (answer) => {
        const reply = () => {
          if (unanswered.delete(reply)) onResult(answer)
        }
        unanswered.add(reply)
        after(millis, reply)
      })
    }
  }

  const execute = <A>(effect: () => Effect.Effect<A, NodeError>, onResult: OnResult<A>): void => {
    fork(Effect.result(Effect.suspend(effect))).addObserver((exit) =>
      onResult(Exit.isSuccess(exit) ? exit.value : Effect.failCause(exit.cause))
    )
  }

  const after = (millis: number, act: () => void): void => {
    if (millis === 0) act()
    else fork(Effect.andThen(Effect.sleep(millis), Effect.sync(act)))
  }

  const setState = (next: State): void => {
    const isBack = isCutOff(state) && !isCutOff(next)
    state = next
    if (isBack) noticesWereLost()
    if (!isWorking(state)) return
    for (let item = backlog[0]; item !== undefined; item = backlog[0]) {
      item(false)
      backlog.shift()
    }
  }

  const wipe = Effect.suspend(() => {
    const lost = backlog
    backlog = []
    memory = options.memory()
    for (const item of lost) item(true)
    return Effect.forEach(lists, (list) => Effect.map(list.open, (open) => list.list = open), { discard: true })
  }).pipe(Effect.andThen(Effect.sync(() => noticesWereLost())))

  const openList = (waiter: string, onNotice: (notice: Notice) => void) =>
    Effect.gen(function*() {
      const scope = yield* Effect.scope
      const open = Effect.suspend(() =>
        Scope.provide(memory.waitingList!(waiter, (notice) => deliver(onNotice, notice)), scope)
      )
      const list: OpenList = { list: yield* open, open, onNotice }
      yield* Effect.acquireRelease(
        Effect.sync(() => lists.add(list)),
        () => Effect.sync(() => lists.delete(list))
      )
      const { handOver } = list.list
      return {
        ...controlled(list.list, () => list.list),
        ...handOver !== undefined && { handOver: controlled(handOver, () => list.list.handOver!) }
      }
    })

  const deliver = (onNotice: (notice: Notice) => void, notice: Notice): void => {
    if (notices === "lost" || isCutOff(state)) return
    if (state === "silent") backlog.push((isLost) => isLost ? undefined : onNotice(notice))
    else after(distanceMillis, () => onNotice(notice))
  }

  const noticesWereLost = (): void => {
    for (const { onNotice } of lists) deliver(onNotice, { _tag: "Resync" })
  }

  const { delayedRestart: _, id, waitingList, ...operations } = memory
  const node: ControlledNode = {
    ...controlled(operations, () => memory),
    ...waitingList !== undefined && notices !== "absent" && { waitingList: openList },
    delayedRestart: () => node,
    ...abilities,
    id,
    calls,
    wipe,
    recover: () => {
      setState("up")
      for (const reply of unanswered) reply()
    },
    valueOf: (key) => {
      const stored = Effect.runSyncWith(context)(Effect.orDie(memory.inspect(key)))
      return Option.isSome(stored) ? stored.value.value : undefined
    },
    get memory() {
      return memory
    },
    get pending() {
      return backlog.length
    },
    get state() {
      return state
    },
    set state(next) {
      setState(next)
    }
  }
  return node
}

/** Whether the server executes what it is sent. */
const isWorking = (state: State): boolean => state === "up" || state === "mute" || Predicate.hasProperty(state, "slow")

/** Whether there is no connection on which notices could come. */
const isCutOff = (state: State): boolean => state === "down" || state === "deaf"

/** The operation under which a failure is reported, the same as for a node over Redis. */
const kindOf = (operation: string): NodeError["operation"] => {
  switch (operation) {
    case "extend":
    case "release":
    case "inspect":
    case "remove":
      return operation
    case "abstention":
    case "announce":
    case "join":
    case "length":
    case "listen":
    case "stopListening":
    case "watch":
      return "inspect"
    case "leave":
    case "transfer":
    case "yieldToReaders":
      return "release"
    // Among them `raise`, `settle`, `replace` and `downgrade`.
    default:
      return "acquire"
  }
}

class Request<A> extends CallbackEffect<A> {
  readonly #start: (onResult: OnResult<A>) => void

  constructor(start: (onResult: OnResult<A>) => void) {
    super()
    this.#start = start
  }

  start(onResult: OnResult<A>): void {
    this.#start(onResult)
  }
}
