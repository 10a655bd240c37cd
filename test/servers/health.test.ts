/**
 * What a service needs in production around its locks: a readiness probe, and an
 * end on SIGTERM that leaves no lock behind.
 */
import { assert, describe, it as unit, layer } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { MemoryNode, NodeError, Redsync } from "../../src/index.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"

const program = fileURLToPath(new URL("../support/children/service.ts", import.meta.url))

/** Starts the service, sends SIGTERM once it holds its locks and `trouble` is there, and waits for its end. */
const terminated = <R>(trouble: Effect.Effect<void, never, R>) =>
  Effect.gen(function*() {
    const servers = yield* RedisServers
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [program, ...servers.map(({ url }) => url)])),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let output = ""
    yield* Effect.callback<void>((resume) => {
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        output += text
        if (output.includes("holding")) resume(Effect.void)
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        output += text
      })
      child.once("exit", () => resume(Effect.die(new Error(output))))
    })
    yield* trouble
    const code = yield* Effect.callback<number | null>((resume) => {
      child.once("close", (code) => resume(Effect.succeed(code)))
      child.kill("SIGTERM")
    })
    assert.include(output, "released")
    return code
  }).pipe(Effect.scoped)

/** The locks that are there; fencing counters stay for their hour. */
const locks = Effect.flatMap(
  RedisServers,
  (servers) =>
    Effect.forEach(
      servers,
      ({ command }) =>
        Effect.map(command<Array<string>>("KEYS", "*"), (keys) => keys.filter((key) => !key.startsWith("redsync:")))
    )
)

const on = <A, E>(health: Effect.Effect<A, E, Redsync>) =>
  Effect.flatMap(
    RedisServers,
    (servers) =>
      Effect.provide(health, Redsync.layer({ nodes: servers.map(({ url }) => url), nodeTimeout: "600 millis" }))
  )

layer(RedisServers.layer(3), { excludeTestServices: true })("in production", (it) => {
  it.effect("health tells which nodes answer and whether that is enough", () =>
    Effect.gen(function*() {
      const [a, b, c] = yield* RedisServers
      const healthy = yield* on(Redsync.health)
      assert.deepStrictEqual(healthy.nodes.map(({ _tag }) => _tag), ["Up", "Up", "Up"])
      assert.deepStrictEqual([healthy.isReady, healthy.quorum], [true, 2])
      yield* a!.kill
      const degraded = yield* on(Redsync.health)
      assert.deepStrictEqual(degraded.nodes.map(({ _tag }) => _tag), ["Down", "Up", "Up"])
      assert.isTrue(degraded.isReady)
      yield* c!.stop
      const broken = yield* on(Redsync.health)
      yield* c!.resume
      yield* a!.restart
      assert.deepStrictEqual(broken.nodes.map((node) => node._tag === "Up" ? "Up" : node.error.reason), [
        "Disconnected",
        "Up",
        "Timeout"
      ])
      assert.isFalse(broken.isReady)
      assert.deepStrictEqual(yield* b!.command("KEYS", "*"), [])
    }))

  it.effect("a server that was restarted a moment ago is not ready to vote", () =>
    Effect.gen(function*() {
      const nodes = (yield* RedisServers).map(({ url }) => url)
      const { isReady, nodes: [node] } = yield* Effect.provide(
        Redsync.health,
        Redsync.layer({ nodes, delayedRestart: "1 hour" })
      )
      assert.isFalse(isReady)
      assert.strictEqual(node?._tag === "Down" ? node.error.reason : node?._tag, "Abstained")
    }))

  it.effect("SIGTERM under runMain releases every lock before the process ends", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* terminated(Effect.void), 130)
      assert.deepStrictEqual(yield* locks, [[], [], []])
    }))

  it.effect("a server that stands still does not keep the process from ending", () =>
    Effect.gen(function*() {
      const [, , c] = yield* RedisServers
      assert.strictEqual(yield* terminated(c!.stop), 130)
      yield* c!.resume
      const [first, second] = yield* locks
      assert.deepStrictEqual([first, second], [[], []])
    }))

  it.effect("nor do all of them", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const code = yield* terminated(Effect.forEach(servers, ({ stop }) => stop, { discard: true }))
      assert.strictEqual(code, 130)
      yield* Effect.forEach(servers, ({ resume }) => resume)
    }))
})

describe("health", () => {
  const refusing = (message: string) => {
    const node = MemoryNode.make()
    const error = new NodeError({ node: node.id, operation: "inspect", reason: "Rejected", cause: new Error(message) })
    return Effect.provide(Redsync.health, Redsync.layer({ nodes: [{ ...node, inspect: () => Effect.fail(error) }] }))
  }

  unit.effect("a user that may not look at the key asked for is no reason to be unready", () =>
    Effect.gen(function*() {
      assert.isTrue((yield* refusing("NOPERM this user has no permissions to access one of the keys")).isReady)
      assert.isFalse((yield* refusing("NOAUTH Authentication required.")).isReady)
    }))
})
