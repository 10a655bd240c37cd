/**
 * Eight workers contend for one lock on five nodes, one of which fails and recovers. The
 * demo ends by itself after nine seconds.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { RedisOptions } from "ioredis"
import type { LockError } from "../../LockError.ts"
import * as Redsync from "../../Redsync.ts"
import { Failure } from "../failure.ts"
import { Board, type Worker } from "./board.ts"
import * as Nodes from "./nodes.ts"
import * as View from "./view.ts"

const actSeconds = 3

/** Retries rarely: the next worker is woken by the release. */
const retry = (board: Board) =>
  Redsync.retryPolicy({ delay: "500 millis", tries: Number.POSITIVE_INFINITY }).pipe(
    Schedule.setInputType<LockError>(),
    Schedule.tap(() => Effect.sync(() => board.refused++))
  )

/** Rests, waits for the lock, works while holding it, and starts again. */
const work = (board: Board, worker: Worker, name: string) =>
  Effect.gen(function*() {
    yield* pause(200, 600)
    worker.state = "waiting"
    const askedAt = yield* View.now
    const turn = Effect.acquireUseRelease(
      Effect.map(View.now, (now) => board.enter(worker, now, now - askedAt)),
      () => pause(60, 110),
      () => Effect.map(View.now, (now) => board.leave(worker, now))
    )
    yield* Redsync.withLock(name, turn).pipe(
      Effect.catchTag("LockLost", () => Effect.sync(() => board.lost++)),
      Effect.ensuring(Effect.sync(() => worker.state = "resting"))
    )
  }).pipe(Effect.forever)

const pause = (least: number, most: number) => Effect.flatMap(Random.nextBetween(least, most), Effect.sleep)

/** What happens around the workers: all is well, a node fails, the node recovers. */
const story = Effect.fnUntraced(function*(board: Board, view: View.View, embedded: boolean) {
  const all = board.nodes.length === 1 ? "The one node is" : `All ${board.nodes.length} nodes are`
  const node = board.nodes[Math.min(1, board.nodes.length - 1)]!
  yield* view.announce(`${all} up.`)
  yield* Effect.sleep(`${actSeconds} seconds`)

  node.cutOff = true
  const from = yield* View.now
  const before = board.acquisitions
  yield* view.announce(`${node.id} is down. ${consequence(board)}${embedded ? "" : ` ${reassurance}`}`)
  yield* Effect.sleep(`${actSeconds} seconds`)

  node.cutOff = false
  board.outage = { node, from, to: yield* View.now, turns: board.acquisitions - before }
  yield* view.announce(`${node.id} is back.`)
  yield* Effect.sleep(`${actSeconds} seconds`)
})

const reassurance = "(Its server is not touched: the demo keeps the workers from reaching it.)"

const consequence = ({ nodes, quorum }: Board) =>
  nodes.length > quorum
    ? `The other ${nodes.length - 1} are enough: the turns go on.`
    : "Too few are left to grant the lock: nobody gets it until the node is back."

/** Runs on these servers, under a key of its own that it removes, or without servers on nodes in this process. */
export const demo = Effect.fnUntraced(function*(targets: ReadonlyArray<RedisOptions>) {
  const { embedded, nodes } = yield* Nodes.make(targets)
  const name = `effect-redsync-demo:${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`
  const board = new Board(nodes.map(({ id }) => id), yield* View.now, 3 * actSeconds)
  const seen = nodes.map(Nodes.observed(board))
  yield* Effect.gen(function*() {
    const view = yield* View.make(board)
    // A service each, over the same nodes: they know no more of each other than processes on eight machines would.
    // On a busy computer the last releases may take longer than 5 % of the expiry, and they are waited for.
    const options = { expiry: "2 seconds", nodeTimeout: "1 second", retry: retry(board) } as const
    const layers = board.workers.map(() => Redsync.layer({ nodes: seen, ...options }))
    const services = yield* Effect.forEach(layers, Layer.build)
    const workers = Effect.forEach(
      board.workers,
      (worker, index) => Effect.provide(work(board, worker, name), services[index]!),
      { concurrency: "unbounded" }
    )
    yield* Effect.raceFirst(story(board, view, embedded), workers)
    yield* view.announce("Time is up.")
  }).pipe(
    Effect.scoped,
    Effect.ensuring(Effect.map(Nodes.clear(nodes, name), (found) => board.leftBehind = found)),
    Effect.onInterrupt(() => Console.log("\nStopped early. The lock is released."))
  )
  yield* Console.log(View.summary(board, (yield* View.now) - board.startedAt))
  if (board.overlaps > 0) {
    return yield* new Failure({ code: 1, message: "two workers held the lock at once" })
  }
}, Effect.scoped)
