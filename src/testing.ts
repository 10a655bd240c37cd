/**
 * Locks in tests: nodes in memory that fail as the test says, and other programs
 * that hold or take a lock.
 *
 * Everything runs on Effect's `Clock`, so with `it.effect` of `@effect/vitest` a
 * test of half an hour takes no time: {@link layerTest} provides `Redsync` to the
 * code under test and {@link TestNodes} to the test.
 *
 * **Example** (Another program has the lock)
 *
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { withLock } from "effect-redsync"
 * import { layerTest, TestNodes } from "effect-redsync/testing"
 *
 * const charge = withLock("invoices:42", Effect.log("charging"), { retry: Schedule.recurs(0) })
 *
 * const test = Effect.gen(function*() {
 *   const nodes = yield* TestNodes
 *   yield* nodes.occupy("invoices:42")
 *   return (yield* Effect.flip(charge))._tag
 * }).pipe(Effect.provide(layerTest()))
 *
 * console.log(await Effect.runPromise(test))
 * // => ErrFailed
 * ```
 *
 * @stability unstable
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import { dieWithIllegalArgument, given, invalidOption, isWhole, millis, passes } from "./internal/base/arguments.ts"
import * as ControlledNode from "./internal/testing/controlledNode.ts"
import type { LockNode } from "./LockNode.ts"
import type { MemoryOptions } from "./LockOptions.ts"
import * as MemoryNode from "./MemoryNode.ts"
import * as Redsync from "./Redsync.ts"

/**
 * How a node behaves.
 *
 * **Details**
 *
 * - `"up"`: it answers at once.
 * - `"silent"`: it answers nothing, like a stopped process or a network that drops packets.
 *   Requests time out; once the node is up again, it executes and answers what it was sent, in order.
 * - `"down"`: every request fails at once, as if there were no connection. It keeps its keys; see `wipe`.
 * - `{ rejects: "OOM command not allowed" }`: every request is answered with this error.
 * - `{ slow: "300 millis" }`: it executes requests at once and answers this much later.
 *
 * @category models
 * @since 0.1.0
 */
export type NodeState =
  | "up"
  | "silent"
  | "down"
  | { readonly rejects: string }
  | { readonly slow: Duration.Input }

/**
 * A request to a node: the name of the `operation`, such as `"acquire"`, and the `key`,
 * which is the name of the lock after the prefix of the layer.
 *
 * @category models
 * @since 0.1.0
 */
export interface NodeCall {
  readonly operation: string
  readonly key: string
}

/**
 * A node in memory that a test controls.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestNode {
  /** The node of the service. Its id is `test-1`, `test-2` … in each layer. */
  readonly node: LockNode
  /** How it behaves from now on; `"up"` at first. An invalid state is a defect. */
  readonly set: (state: NodeState) => Effect.Effect<void>
  /**
   * Its server restarts and comes back without its data. It stays in its state, so that
   * `set("down")`, `wipe`, `set("up")` is a restart that takes time.
   */
  readonly wipe: Effect.Effect<void>
  /**
   * Another program takes the lock on this node, for a minute by default, whatever the state of the
   * node. If the lock is held, nothing happens. A duration that is not more than 0 ms is a defect.
   */
  readonly occupy: (lock: string, duration?: Duration.Input) => Effect.Effect<void>
  /** Every request so far, in order, answered or not. */
  readonly calls: ReadonlyArray<NodeCall>
}

/**
 * Control over the nodes of {@link layerTest}.
 *
 * @category services
 * @since 0.1.0
 */
export class TestNodes extends Context.Service<TestNodes, {
  /** Each of the nodes, `test-1` first. */
  readonly nodes: ReadonlyArray<TestNode>
  /** Puts all nodes into the given state. `all("down")` provokes `NodesUnavailable`. */
  readonly all: (state: NodeState) => Effect.Effect<void>
  /**
   * Another program takes the lock on all nodes, for a minute by default. Acquiring it
   * then provokes `ErrFailed`. `Redsync.forceUnlock` frees it early. It does not affect the permits
   * of a semaphore of that name.
   */
  readonly occupy: (lock: string, duration?: Duration.Input) => Effect.Effect<void>
  /**
   * Another program takes the lock from its holder, on all nodes. The holder notices at its next
   * extension, a third of the expiry after the grant or the last extension; then its program is
   * interrupted, and fails with `LockLost`.
   */
  readonly steal: (lock: string) => Effect.Effect<void>
}>()("effect-redsync/TestNodes") {}

/**
 * `Redsync` over nodes in memory, and control over those nodes: for tests with `TestClock`, such as
 * those of `it.effect`.
 *
 * **Details**
 *
 * Each build of the layer has nodes of its own. When it closes, its nodes are up again, so that closing takes no time
 * whatever the test did to them. An invalid option is a defect, an
 * `IllegalArgumentError` that names the option.
 *
 * **Gotchas**
 *
 * The retry schedule waits on the test clock too: a test that waits for a lock, or
 * for a request to time out, has to run in a fiber while the test adjusts the clock.
 * With `retry: Schedule.recurs(0)` there is one attempt, and no time has to pass.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTest = (options: MemoryOptions = {}): Layer.Layer<Redsync.Redsync | TestNodes> =>
  Layer.unwrap(Effect.gen(function*() {
    const read = given(options, known)
    if (Predicate.isString(read)) return yield* dieWithIllegalArgument(read)
    const { count = 1, ...layerOptions } = read as MemoryOptions
    if (!(isWhole(count) && count >= 1 && count <= 100)) {
      return yield* dieWithIllegalArgument(invalidOption("count", count, "it must be a whole number from 1 to 100"))
    }
    const prefix = layerOptions.prefix ?? ""
    const nodes = yield* Effect.forEach(Array.from({ length: count }), (_, index) => makeNode(index, prefix))
    const each = (f: (node: typeof nodes[number]) => Effect.Effect<void>) => Effect.forEach(nodes, f, { discard: true })
    const control = TestNodes.of({
      nodes,
      all: (state) => each(({ set }) => set(state)),
      occupy: (lock, duration) => each(({ occupy }) => occupy(lock, duration)),
      steal: (lock) => each(({ steal }) => steal(lock))
    })
    const controlled = Layer.effect(
      TestNodes,
      // Before the service closes, which would wait for their answers on a clock that is no longer adjusted.
      Effect.as(Effect.addFinalizer(() => each(({ recover }) => recover)), control)
    )
    return Layer.provideMerge(controlled, Redsync.layer({ ...layerOptions, nodes: nodes.map(({ node }) => node) }))
  }))

const known: ReadonlyArray<keyof MemoryOptions> = [
  "count",
  "expiry",
  "retry",
  "autoExtend",
  "driftFactor",
  "nodeTimeout",
  "prefix",
  "quorum",
  "delayedRestart",
  "replicas"
]

const makeNode = Effect.fnUntraced(function*(index: number, prefix: string) {
  const node = yield* ControlledNode.make({ memory: () => MemoryNode.make(`test-${index + 1}`) })
  const occupy = (lock: string, duration: Duration.Input = "1 minute") =>
    Effect.suspend(() => {
      const held = millis(duration)
      return held > 0
        ? Effect.orDie(node.memory.acquire(prefix + lock, "another program", held))
        : dieWithIllegalArgument(invalidOption("duration", duration, "it must be a duration of more than 0 ms"))
    })
  return {
    node,
    set: (state: NodeState) =>
      isState(state)
        ? Effect.sync(() => void (node.state = state))
        : dieWithIllegalArgument(invalidOption("state", state, `it must be ${states}`)),
    recover: Effect.sync(() => node.recover()),
    wipe: node.wipe,
    occupy,
    steal: (lock: string) =>
      Effect.andThen(Effect.suspend(() => Effect.orDie(node.memory.remove(prefix + lock))), occupy(lock)),
    calls: node.calls
  }
})

const states = `"up", "silent", "down", { rejects: "the server's error" } or { slow: "a duration" }`

const isState = (state: unknown): boolean =>
  passes(() =>
    state === "up" || state === "silent" || state === "down" ||
    (Predicate.hasProperty(state, "rejects") && Predicate.isString(state.rejects)) ||
    (Predicate.hasProperty(state, "slow") && millis(state.slow) >= 0)
  )
