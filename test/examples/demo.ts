/**
 * Eight workers contend for one lock on five nodes, one of which fails on the
 * way. Run it with `npm run demo`; it ends by itself after ten seconds.
 *
 * The nodes are in this process. `REDSYNC_NODES=redis://a:6379,redis://b:6379`
 * runs it on those servers instead, under a key of its own that it removes.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeStdio from "@effect/platform-node/NodeStdio"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import { Console, Effect, Layer, Logger, Random, Schedule } from "effect"
import { type LockError, Redsync, withLock } from "../../src/index.ts"
import { Board, type Worker } from "./demo/board.ts"
import * as Nodes from "./demo/nodes.ts"
import * as View from "./demo/view.ts"

const actSeconds = 3

/** Seldom: it is the release that wakes the next worker. */
const retry = (board: Board) =>
  Redsync.retryPolicy({ delay: "500 millis", tries: Number.POSITIVE_INFINITY }).pipe(
    Schedule.setInputType<LockError.LockError>(),
    Schedule.tap(() => Effect.sync(() => board.refused++))
  )

/** Rests, waits for the lock, works while it has it, and again. */
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
    yield* withLock(name, turn).pipe(
      Effect.catchTag("LockLost", () => Effect.sync(() => board.lost++)),
      Effect.ensuring(Effect.sync(() => worker.state = "resting"))
    )
  }).pipe(Effect.forever)

const pause = (least: number, most: number) => Effect.flatMap(Random.nextBetween(least, most), Effect.sleep)

/** What goes on around the workers: all is well, a node fails, it is back. */
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

const reassurance = "(Its server is not touched: the demo keeps the workers from it.)"

const consequence = ({ nodes, quorum }: Board) =>
  nodes.length > quorum
    ? `The other ${nodes.length - 1} are enough: the turns go on.`
    : "Too few are left to grant the lock: nobody gets it until the node is back."

const demo = Effect.gen(function*() {
  const { embedded, nodes } = yield* Nodes.make
  const name = `effect-redsync-demo:${(yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36)}`
  const board = new Board(nodes.map(({ id }) => id), yield* View.now, 3 * actSeconds)
  const seen = nodes.map(Nodes.observed(board))
  yield* Effect.gen(function*() {
    const view = yield* View.make(board)
    // A service each, over the same nodes: they know of each other no more than processes on eight machines.
    const layers = board.workers.map(() => Redsync.layer({ nodes: seen, expiry: "2 seconds", retry: retry(board) }))
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
  if (board.overlaps > 0) return yield* new Nodes.DemoFailed({ message: "Two workers held the lock at once." })
})

/** Whoever reads the output has left, as `head` does: nobody is there to show anything to. */
const readerLeft = Effect.callback<never>((resume) => {
  process.stdout.on("error", () => resume(Effect.interrupt))
})

demo.pipe(
  Effect.scoped,
  Effect.raceFirst(readerLeft),
  Effect.tapError(({ message }) => Console.error(message)),
  // The library logs that a node fails, once a worker. The demo shows it in its own way.
  Effect.provide(Layer.mergeAll(NodeStdio.layer, NodeTerminal.layer, Logger.layer([]))),
  NodeRuntime.runMain
)
