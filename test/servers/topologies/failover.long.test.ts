/**
 * Nodes that fail over to a replica: what asynchronous replication loses, and what
 * `replicas` keeps.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Logger, Option, Schedule, type Scope } from "effect"
import { Cluster, Redis } from "ioredis"
import {
  fencedLock,
  lock,
  type LockError,
  type LockLost,
  Redsync,
  retryPolicy,
  tryLock,
  withLock
} from "../../../src/index.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { overCluster } from "../../examples/kinds/cluster.ts"
import { overSentinelNodeRedis } from "../../examples/kinds/sentinel-node-redis.ts"
import { overSentinel } from "../../examples/kinds/sentinel.ts"
import { assertNodeError } from "../../support/conformance.ts"
import { callsOf, until } from "../../support/faults.ts"
import {
  admitReplicas,
  cutReplicas,
  type ReplicatedCluster,
  replicatedCluster,
  sentinelName,
  untilPromoted,
  type Watched,
  watched
} from "../../support/servers/failover.ts"

/** Longer than any failover here takes. */
const expiry = "20 seconds"
const patient = {
  expiry,
  nodeTimeout: "600 millis",
  retry: retryPolicy({ delay: "50 millis", within: "25 seconds" })
} as const

type Service = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Exclude<R, Redsync>>

const service = (layer: Layer.Layer<Redsync>): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.map(
    // What is logged of nodes that go and come is tested elsewhere.
    Layer.build(Layer.provide(Layer.fresh(layer), Logger.layer([]))),
    (context) => Effect.provide(context)
  )

/** In a cluster its master is the first, which is the one with a replica: slot 3300. */
const name = "b"

/** Refused for want of replicas, and says so. */
const assertTooFewReplicas = (error: LockError | LockLost) => {
  assert.strictEqual(error._tag, "NodesUnavailable")
  assert.match(error.message, /NOREPLICAS 0 of 1 replica acknowledged within 134 ms/)
}

/**
 * A lock is held while its server dies and a replica takes over: the holder is not
 * disturbed, extends on the new one, and nobody else gets in before it is done.
 */
const survives = (ours: Service, theirs: Service, failover: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const events: Array<string> = []
    const contender = theirs(withLock(name, Effect.sync(() => events.push("contender")), patient))
    const waiting = yield* ours(withLock(
      name,
      (held) =>
        Effect.gen(function*() {
          const waiting = yield* Effect.forkScoped(contender)
          yield* failover
          // The connections to the old server have broken; the first extensions may fail for want of one.
          const before = yield* held.remaining
          yield* until("the lock is extended on the new server", Effect.isSuccess(held.extend))
          assert.isTrue(Duration.isGreaterThan(yield* held.remaining, before))
          assert.isTrue(yield* held.isHeld)
          events.push("holder")
          return waiting
        }),
      patient
    ))
    yield* Fiber.join(waiting)
    assert.deepStrictEqual(events, ["holder", "contender"])
  })

/** Two hold the lock at once: what the first was granted never reached the replica that took over. */
const overlaps = (ours: Service, theirs: Service, cut: Effect.Effect<void>, failover: Effect.Effect<void>) =>
  Effect.gen(function*() {
    yield* cut
    const first = yield* ours(lock(name, { ...patient, autoExtend: false }))
    yield* failover
    const second = yield* theirs(lock(name, { ...patient, autoExtend: false }))
    assert.isAbove(Duration.toMillis(yield* first.remaining), 0)
    assert.isAbove(Duration.toMillis(yield* second.remaining), 0)
    // The connections to the old server have broken; the first look may fail for want of one.
    assert.isFalse(yield* Effect.retry(first.isHeld, Schedule.spaced("20 millis")))
  })

/** With the same faults nobody is told that they hold it before the replica took over. */
const neverOverlaps = (ours: Service, theirs: Service, cut: Effect.Effect<void>, failover: Effect.Effect<void>) =>
  Effect.gen(function*() {
    yield* cut
    assertTooFewReplicas(yield* Effect.flip(ours(lock(name, { ...patient, retry: retryPolicy({ tries: 1 }) }))))
    yield* failover
    const second = yield* theirs(lock(name, patient))
    assert.isTrue(yield* second.isHeld)
    yield* until(
      "the first finds its way, and is refused",
      Effect.map(
        Effect.option(ours(tryLock(name, patient))),
        (tried) => Option.isSome(tried) && Option.isNone(tried.value)
      )
    )
  })

describe("Sentinel", () => {
  const careless = ({ sentinels }: Watched) =>
    Redsync.layer({ nodes: [IoredisNode.make({ sentinels: [...sentinels], name: sentinelName })] })
  const careful = ({ sentinels }: Watched) => overSentinel([...sentinels])

  it.live.each([["without replicas", careless], ["with replicas", careful]] as const)(
    "a lock outlives the failover, %s",
    ([_, layer]) =>
      Effect.gen(function*() {
        const group = yield* watched
        yield* survives(yield* service(layer(group)), yield* service(layer(group)), group.failover)
      }).pipe(Effect.scoped)
  )

  it.live("without replicas a lock that was not replicated is lost to another while it is held", () =>
    Effect.gen(function*() {
      const group = yield* watched
      const [ours, theirs] = [yield* service(careless(group)), yield* service(careless(group))]
      yield* overlaps(ours, theirs, cutReplicas(group.primary), group.failover)
    }).pipe(Effect.scoped))

  it.live("with replicas it is not granted in the first place", () =>
    Effect.gen(function*() {
      const group = yield* watched
      const [ours, theirs] = [yield* service(careful(group)), yield* service(careful(group))]
      yield* neverOverlaps(ours, theirs, cutReplicas(group.primary), group.failover)
    }).pipe(Effect.scoped))

  it.live("with replicas an extension that did not reach them is none, and the lock ends with its lease", () =>
    Effect.gen(function*() {
      const { primary, sentinels } = yield* watched
      const ours = yield* service(overSentinel([...sentinels]))
      const lost = yield* ours(Effect.flip(withLock(
        name,
        (held) =>
          Effect.gen(function*() {
            yield* cutReplicas(primary)
            const before = yield* held.remaining
            assertTooFewReplicas(yield* Effect.orDie(Effect.flip(held.extend)))
            assert.isTrue(Duration.isLessThan(yield* held.remaining, before))
            return yield* Effect.never
          }),
        { expiry: "2 seconds", nodeTimeout: "400 millis" }
      )))
      assert(lost._tag === "LockLost" && lost.reason === "NodesUnavailable")
      assert.match(lost.message, /NOREPLICAS 0 of 1 replica/)
    }).pipe(Effect.scoped))

  it.live("with replicas a token that did not reach them is none", () =>
    Effect.gen(function*() {
      const { primary, sentinels } = yield* watched
      const ours = yield* service(overSentinel([...sentinels]))
      const first = yield* ours(Effect.scoped(fencedLock(name, patient)))
      yield* cutReplicas(primary)
      const once = { ...patient, retry: retryPolicy({ tries: 1 }) }
      assertTooFewReplicas(yield* Effect.flip(ours(Effect.scoped(fencedLock(name, once)))))
      yield* admitReplicas(primary)
      const second = yield* ours(Effect.scoped(fencedLock(name, patient)))
      assert.isAbove(second.token, first.token)
    }).pipe(Effect.scoped))

  it.live("a lock outlives the failover, over Effect's Redis service", () =>
    Effect.gen(function*() {
      const group = yield* watched
      const layer = overSentinelNodeRedis([...group.sentinels])
      yield* survives(yield* service(layer), yield* service(layer), group.failover)
    }).pipe(Effect.scoped))

  it.live("Sentinels that are all down are failed votes, and no reason to hang", () =>
    Effect.gen(function*() {
      const ours = yield* service(overSentinel([{ host: "127.0.0.1", port: 1 }]))
      const error = yield* Effect.flip(ours(Effect.scoped(tryLock(name))))
      assert.match(error.message, /sentinel main at 127.0.0.1:1 is not connected: All sentinels are unreachable/)
    }).pipe(Effect.scoped))
})

describe("waiting for replicas", () => {
  const written = "written"

  it.live("however many locks are asked for at once, two waits at most are under way", () =>
    Effect.gen(function*() {
      const { primary } = yield* watched
      const node = (yield* IoredisNode.make(primary.url)).replicas!(1, 300)
      yield* node.acquire(written, "mine", 60_000)
      yield* cutReplicas(primary)
      const before = yield* callsOf(primary, "wait")
      const names = Array.from({ length: 50 }, (_, index) => `many-${index}`)
      const errors = yield* Effect.forEach(names, (name) => Effect.flip(node.acquire(name, "mine", 60_000)), {
        concurrency: "unbounded"
      })
      for (const error of errors) assertNodeError(error, node, "acquire", "Rejected", /^NOREPLICAS 0 of 1 replica /)
      assert.isAtMost((yield* callsOf(primary, "wait")) - before, 2)
    }).pipe(Effect.scoped))

  it.live("a refused attempt waits for nothing", () =>
    Effect.gen(function*() {
      const { primary } = yield* watched
      const node = (yield* IoredisNode.make(primary.url)).replicas!(1, 300)
      yield* node.acquire(written, "mine", 60_000)
      yield* cutReplicas(primary)
      const before = yield* callsOf(primary, "wait")
      assert.isFalse(yield* node.acquire(written, "another", 60_000))
      assert.isFalse(yield* node.extend(written, "another", 60_000))
      assert.strictEqual(yield* callsOf(primary, "wait"), before)
    }).pipe(Effect.scoped))

  it.live("what is asked again on another connection is no answer", () =>
    Effect.gen(function*() {
      const { primary } = yield* watched
      // With ioredis' defaults, which send again what was under way.
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Redis(primary.port, primary.host)),
        (client) => Effect.sync(() => client.disconnect())
      )
      const node = IoredisNode.fromClient(client).replicas!(1, 60_000)
      yield* node.acquire(written, "mine", 60_000)
      yield* cutReplicas(primary)
      const id = yield* Effect.promise(() => client.client("ID"))
      const extension = yield* Effect.forkScoped(Effect.flip(node.extend(written, "mine", 60_000)))
      const untilWaiting = (what: string, isOn: (connection: string) => boolean) =>
        until(
          what,
          Effect.map(
            primary.command<string>("CLIENT", "LIST"),
            (list) =>
              list.split("\n").some((line) => / flags=b .* cmd=wait /.test(line) && isOn(/^id=(\d+) /.exec(line)![1]!))
          )
        )
      yield* untilWaiting("it waits", (connection) => connection === String(id))
      assert.strictEqual(yield* primary.command("CLIENT", "KILL", "ID", String(id)), 1)
      yield* untilWaiting("it waits on another connection", (connection) => connection !== String(id))
      yield* admitReplicas(primary)
      const error = yield* Fiber.join(extension)
      assertNodeError(error, node, "extend", "Disconnected", /the connection was lost before the replicas/)
      assert.isTrue(yield* node.extend(written, "mine", 60_000))
    }).pipe(Effect.scoped))
})

describe("Cluster", () => {
  const clusterOf = (masters: ReplicatedCluster["masters"]) =>
    Effect.acquireRelease(
      Effect.sync(() => new Cluster(masters.map(({ host, port }) => ({ host, port })))),
      (cluster) => Effect.sync(() => cluster.disconnect())
    )
  const careless = ({ masters }: ReplicatedCluster) =>
    Redsync.layer({ nodes: [Effect.map(clusterOf(masters), IoredisNode.fromClient)] })
  const careful = ({ masters }: ReplicatedCluster) => overCluster(masters.map(({ host, port }) => ({ host, port })))

  const takeOver = ({ masters: [master], replica }: ReplicatedCluster) =>
    master.kill.pipe(
      // What it would do by itself after a while, without asking the other masters.
      Effect.andThen(replica.command("CLUSTER", "FAILOVER", "TAKEOVER")),
      Effect.andThen(untilPromoted(replica))
    )

  it.live("a lock outlives the failover of its master", () =>
    Effect.gen(function*() {
      const cluster = yield* replicatedCluster
      const [ours, theirs] = [yield* service(careless(cluster)), yield* service(careless(cluster))]
      yield* survives(ours, theirs, Effect.andThen(cluster.masters[0].kill, untilPromoted(cluster.replica)))
    }).pipe(Effect.scoped))

  it.live("without replicas a lock that was not replicated is lost to another while it is held", () =>
    Effect.gen(function*() {
      const cluster = yield* replicatedCluster
      const [ours, theirs] = [yield* service(careless(cluster)), yield* service(careless(cluster))]
      yield* overlaps(ours, theirs, cutReplicas(cluster.masters[0]), takeOver(cluster))
    }).pipe(Effect.scoped))

  it.live("with replicas it is not granted in the first place", () =>
    Effect.gen(function*() {
      const cluster = yield* replicatedCluster
      // The replica that takes over has none itself.
      const [ours, theirs] = [yield* service(careful(cluster)), yield* service(careless(cluster))]
      yield* ours(withLock(name, Effect.void, patient))
      yield* neverOverlaps(ours, theirs, cutReplicas(cluster.masters[0]), takeOver(cluster))
    }).pipe(Effect.scoped))

  it.live("with replicas a name that moves to another master is found there", () =>
    Effect.gen(function*() {
      const { masters, replica } = yield* replicatedCluster
      const node = IoredisNode.fromClient(yield* clusterOf(masters)).replicas!(1, 200)
      assert.isTrue(yield* node.acquire(name, "mine", 60_000))
      // Both live on, so that no broken connection tells the client.
      yield* replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
      yield* untilPromoted(replica)
      yield* until("it is extended there", Effect.isSuccess(node.extend(name, "mine", 60_000)))
    }).pipe(Effect.scoped))
})
