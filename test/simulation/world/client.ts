/**
 * What runs in a process: the library's service, and fibers that use it as the
 * plan says.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type LockNode, Redsync } from "../../../src/index.ts"
import { Attempt } from "../checks/attempt.ts"
import type { Checker } from "../checks/checker.ts"
import type { Op, Plan, ProcessPlan } from "../plan/plan.ts"
import type { Calls } from "./node.ts"
import type { Process } from "./process.ts"
import type { Server } from "./server.ts"

export interface Client {
  readonly process: Process
  readonly plan: ProcessPlan
  readonly nodes: ReadonlyArray<LockNode>
  readonly calls: Calls
  /** Fibers that use locks beside those that took them. */
  readonly besides: Array<Fiber.Fiber<unknown, unknown>>
  isClosed: boolean
  isDone: boolean
}

export interface Surroundings {
  readonly plan: Plan
  readonly checker: Checker
  readonly servers: ReadonlyArray<Server>
  /** When the network has been whole for so long that every clean-up has had its turn. */
  readonly cleanAt: number
}

/** So long after the last release everything has been cleaned up, even what began before the process stood still. */
const graceMillis = ({ workers }: ProcessPlan): number =>
  500 + 3 * Math.max(400, ...workers.flat().map(({ options }) => options.nodeTimeout))

/** The whole life of a process that does not crash. */
export const live = (client: Client, around: Surroundings): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { plan, process } = client
    const { checker, cleanAt, servers } = around
    const { delayedRestart, driftFactor, quorum, servers: { length } } = around.plan
    const isMajority = quorum === Math.floor(length / 2) + 1
    const scope = yield* Scope.make()
    const layer = Redsync.layer({
      nodes: client.nodes,
      driftFactor,
      ...!isMajority && { quorum },
      ...delayedRestart > 0 && { delayedRestart },
      ...around.plan.replicas && { replicas: 1 }
    })
    const context = yield* Layer.buildWithScope(layer, scope)
    const fibers = yield* Effect.forEach(plan.workers, (ops) => Effect.forkChild(work(client, around, context, ops)))
    const close = Effect.suspend(() => {
      client.isClosed = true
      process.closing.beganAt = process.world.now
      return Effect.ensuring(
        Scope.close(scope, Exit.void),
        Effect.sync(() => {
          process.closing.endedAt = process.world.now
          process.world.log(() => `${process.name} has closed its service`)
        })
      )
    })
    const wasBusy = typeof plan.closes === "object"
    if (typeof plan.closes === "object") {
      yield* untilTrueTime(process, plan.closes.at)
      checker.count("services closed in the middle of work")
      yield* close
    }
    yield* Fiber.awaitAll(fibers)
    yield* Fiber.awaitAll(client.besides)
    if (plan.closes === "healed") {
      yield* untilTrueTime(process, Math.max(cleanAt, process.world.now + graceMillis(plan)))
      // It may have stood still up to this very moment.
      while (process.world.now < process.stoodStillUntil + graceMillis(plan)) {
        yield* untilTrueTime(process, process.stoodStillUntil + graceMillis(plan))
      }
      checker.idle(process, servers)
    }
    if (!client.isClosed) yield* close
    // One round of the event loop for what ends with the scope, or the time of whoever still had a lock of it in hand.
    // Where fibers yield at every chance that takes a while.
    yield* wasBusy
      ? untilTrueTime(process, process.world.now + graceMillis(plan))
      : plan.yields > 0
      ? untilTrueTime(process, process.world.now + 10)
      : Effect.yieldNow
    const { underWay } = client.calls
    if (underWay > 0) checker.violated("6 nothing leaks", `${process.name} has ${underWay} calls under way`)
    if (process.sleeping > 0) checker.violated("6 nothing leaks", `${process.name} has ${process.sleeping} timers`)
    client.isDone = true
  })

const untilTrueTime = (process: Process, at: number): Effect.Effect<void> =>
  Effect.callback((resume) => process.world.at(at, () => process.deliver(() => resume(Effect.void))))

const work = (
  client: Client,
  around: Surroundings,
  context: Context.Context<Redsync>,
  ops: ReadonlyArray<Op>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (const op of ops) {
      yield* client.process.nap(op.think)
      if (client.isClosed) return
      const run = Effect.exit(Effect.provide(new Attempt(client, around, op).run(), context))
      yield* op.interruptAfter === undefined ? run : Effect.raceFirst(
        run,
        Effect.andThen(
          client.process.nap(op.interruptAfter),
          Effect.sync(() => around.checker.count("interruptions"))
        )
      )
    }
  })
