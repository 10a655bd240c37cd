/**
 * What a runtime has to do with the installed package on three real servers, whose
 * URLs are in `REDSYNC_NODES`. Plain JavaScript, so that every runtime runs the same file.
 */
import { Cause, Effect, Exit, Layer, Schedule } from "effect"
import {
  inspect,
  RedisNode,
  Redsync,
  withFencedLock,
  withLock,
  withPermits,
  withSharedLock
} from "effect-redsync"
import { NodeRedis } from "@effect/platform-node"
import { Redis } from "ioredis"
import assert from "node:assert/strict"
import process from "node:process"

const urls = (process.env["REDSYNC_NODES"] ?? "").split(",")
const [first, second] = urls.slice(0, 2).map((url) => new Redis(url, { retryStrategy: null }))

/** Twice the service, as in two processes: nothing is passed but over the servers. */
const layers = {
  ioredis: () => Redsync.layer({ nodes: urls }),
  "node-redis": () => Redsync.layer({ nodes: urls.map((url) => RedisNode.fromLayer(url, NodeRedis.layer({ url, disableOfflineQueue: true }))) })
}

const check = (name) => console.log(`ok    ${name}`)

const alone = ({ here, there }) =>
  Effect.gen(function*() {
    assert.equal(yield* here(withLock("a", Effect.succeed(1))), 1)
    const nodes = yield* here(Effect.map(inspect("a"), ({ nodes }) => nodes.map(({ _tag }) => _tag)))
    assert.deepEqual(nodes, ["Free", "Free", "Free"])
    check("a lock is acquired and released")

    yield* here(withLock("renewed", Effect.sleep("1 second"), { expiry: "400 millis" }))
    check("a lease is renewed")

    const token = (service) => service(withFencedLock("fenced", (token) => Effect.succeed(token)))
    assert.ok((yield* token(here)) < (yield* token(there)))
    check("tokens rise")

    const taken = Effect.andThen(there(Redsync.forceUnlock("taken")), Effect.never)
    const exit = yield* Effect.exit(here(withLock("taken", taken, { expiry: "600 millis" })))
    assert.ok(Exit.isFailure(exit))
    assert.equal(Cause.squash(exit.cause)._tag, "LockLost")
    check("a loss interrupts the program")
  })

const together = ({ here, there }) =>
  Effect.gen(function*() {
    let inside = 0
    let most = 0
    const order = []
    const program = (service) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          order.push(service)
          most = Math.max(most, ++inside)
        }),
        () => Effect.sleep("2 millis"),
        () => Effect.sync(() => inside--)
      )
    const both = (use) => {
      most = 0
      order.length = 0
      const turns = (service) => Effect.repeat(service(use(program(service))), Schedule.recurs(49))
      return Effect.all([turns(here), turns(there)], { concurrency: "unbounded" })
    }
    yield* both((turn) => withLock("line", turn))
    assert.equal(most, 1)
    const changes = order.filter((service, index) => index > 0 && order[index - 1] !== service).length
    // Without notices the waiter would come once the other is through.
    assert.ok(changes > 10, `the lock went over ${changes} times`)
    check(`a lock goes from one service to the other (${changes} of 99 times)`)

    yield* both((turn) => withPermits("permits", turn, { limit: 1 }))
    assert.equal(most, 1)
    check("permits are exact")

    yield* Effect.scoped(Effect.gen(function*() {
      yield* here(Redsync.sharedLock("shared"))
      yield* there(Redsync.sharedLock("shared"))
    }))
    yield* both((turn) => withSharedLock("shared", turn))
    check("readers share a lock")
  })

const withoutServers = ({ here }) =>
  Effect.gen(function*() {
    yield* Effect.promise(() => first.call("CLIENT", "PAUSE", "60000", "ALL"))
    yield* Effect.repeat(here(withLock("minority", Effect.void)), Schedule.recurs(4))
    check("a silent server is a minority")
    yield* Effect.promise(() => second.call("SHUTDOWN", "NOSAVE").catch(() => {}))
    const error = yield* Effect.flip(here(withLock("none", Effect.void)))
    assert.equal(error._tag, "NodesUnavailable")
    check("without a quorum there is no lock")
  })

const within = (layer, use) =>
  Effect.scoped(Effect.gen(function*() {
    const service = Effect.map(Layer.build(layer()), (services) => Effect.provide(services))
    yield* use({ here: yield* service, there: yield* service })
  }))

const program = Effect.gen(function*() {
  for (const [name, layer] of Object.entries(layers)) {
    console.log(`--    over ${name}`)
    yield* within(layer, alone)
    yield* within(layer, together)
  }
  yield* within(layers.ioredis, withoutServers)
})

Effect.runPromise(program).then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  }
)
