import { assert, describe, expect, it, layer } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Option, Scope } from "effect"
import { Cluster, Redis } from "ioredis"
import { execFile } from "node:child_process"
import { existsSync, readFileSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { promisify } from "node:util"
import { adminName, directoryOf, untilRefused } from "../support/servers/Instance.ts"
import { RedisCluster, type RedisServer, RedisServers } from "../support/servers/RedisServers.ts"
import { serverSource } from "../support/servers/ServerSource.ts"

const source = await serverSource()

/** Long enough for any answer that comes at all. */
const patience = "300 millis"

/** A connection as a user of the server would have it. */
const client = (server: RedisServer) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const redis = new Redis(server.url, { lazyConnect: true, retryStrategy: () => null })
      redis.on("error", () => {})
      await redis.connect()
      return redis
    }),
    (redis) => Effect.sync(() => redis.disconnect())
  )

const refuses = (server: RedisServer): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: server.host, port: server.port })
    socket.once("connect", () => {
      socket.destroy()
      resolve(false)
    })
    socket.once("error", () => resolve(true))
  })

const processId = (server: RedisServer) =>
  Effect.map(server.command<string>("INFO", "server"), (info) => Number(/process_id:(\d+)/.exec(info)?.[1]))

/** Whether a process runs, rather than waiting as a zombie for a new parent to notice its end. */
const runs = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  return !existsSync("/proc/self/stat") || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
}

const servers = Effect.gen(function*() {
  const [first, second] = yield* RedisServers
  assert(first !== undefined && second !== undefined)
  return [first, second] as const
})

layer(RedisServers.layer(2), { excludeTestServices: true, timeout: "60 seconds" })("RedisServers", (it) => {
  it.effect("are independent and take commands", () =>
    Effect.gen(function*() {
      const [first, second] = yield* servers
      assert.notStrictEqual(first.port, second.port)
      assert.strictEqual(yield* first.command("SET", "key", "value"), "OK")
      assert.strictEqual(yield* first.command("GET", "key"), "value")
      assert.strictEqual(yield* second.command("GET", "key"), null)
    }))

  it.effect("die of a command that fails", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      const exit = yield* Effect.exit(first.command("NOT-A-COMMAND"))
      assert(Exit.isFailure(exit))
      expect(String(exit.cause)).toMatch(/unknown command/)
    }))

  it.effect("answer nothing while stopped, and everything after the resume", () =>
    Effect.gen(function*() {
      const [first, second] = yield* servers
      const redis = yield* client(first)
      yield* first.stop
      const ping = redis.ping()
      const inTime = yield* Effect.timeoutOption(Effect.promise(() => ping), patience)
      assert.isTrue(Option.isNone(inTime))
      assert.strictEqual(yield* second.command("PING"), "PONG")
      yield* first.resume
      assert.strictEqual(yield* Effect.promise(() => ping), "PONG")
      yield* first.resume
    }))

  it.effect("are stopped as soon as stop is done", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      const redis = yield* client(first)
      for (let round = 0; round < 10; round++) {
        let answered = false
        yield* first.stop
        const ping = redis.ping().then(() => answered = true)
        yield* Effect.sleep("20 millis")
        assert.isFalse(answered)
        yield* first.resume
        yield* Effect.promise(() => ping)
      }
    }))

  it.effect("leave an interrupted command without an answer", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      yield* first.stop
      const answer = yield* Effect.timeoutOption(first.command("PING"), patience)
      assert.isTrue(Option.isNone(answer))
      yield* first.resume
      assert.strictEqual(yield* first.command("PING"), "PONG")
    }))

  it.effect("refuse connections once killed, also frozen ones", () =>
    Effect.gen(function*() {
      const [first, second] = yield* servers
      const redis = yield* client(first)
      const closed = new Promise((resolve) => redis.once("close", resolve))
      yield* first.stop
      yield* first.kill
      assert.isTrue(yield* Effect.promise(() => refuses(first)))
      yield* Effect.promise(() => closed)
      yield* first.kill
      yield* first.resume
      assert.isFalse(yield* Effect.promise(() => refuses(second)))
      yield* first.restart
    }))

  it.effect("come back empty on the same port, dead or alive before", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      for (const before of [Effect.void, first.kill, first.stop]) {
        yield* first.command("SET", "key", "value")
        yield* before
        yield* first.restart
        assert.strictEqual(yield* first.command("DBSIZE"), 0)
      }
    }))

  it.effect("answer late while paused", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      const redis = yield* client(first)
      const start = performance.now()
      yield* first.pause(400)
      yield* Effect.promise(() => redis.ping())
      assert.isAtLeast(performance.now() - start, 390)
    }))

  it.effect("tell the admin's connections from those of a test", () =>
    Effect.gen(function*() {
      const [first] = yield* servers
      expect(yield* first.command("CLIENT", "LIST")).toMatch(`name=${adminName}`)
    }))
})

layer(RedisServers.layer(1, { password: "p@ss:word/", args: ["--maxmemory", "3mb"] }), { timeout: "60 seconds" })(
  "RedisServers with options, under a test clock",
  (it) => {
    it.effect("take a password and more arguments", () =>
      Effect.gen(function*() {
        const [server] = yield* RedisServers
        assert(server !== undefined)
        assert.deepStrictEqual(yield* server.command("CONFIG", "GET", "maxmemory"), ["maxmemory", "3145728"])
        const redis = yield* client(server)
        assert.strictEqual(yield* Effect.promise(() => redis.ping()), "PONG")
        yield* server.restart
        assert.strictEqual(yield* server.command("PING"), "PONG")
      }))
  }
)

describe("the scope of RedisServers", () => {
  it.live("leaves no process, no open port and no directory", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(RedisServers.layer(3), scope)
      const [first, second, third] = Context.get(context, RedisServers)
      assert(first !== undefined && second !== undefined && third !== undefined)
      const all = [first, second, third]
      yield* third.restart
      const pids = yield* Effect.forEach(all, processId)
      if (source.kind === "processes") assert.isTrue(pids.every(runs))
      yield* first.stop
      yield* second.kill
      yield* Scope.close(scope, Exit.void)
      for (const server of all) {
        assert.isTrue(yield* Effect.promise(() => refuses(server)))
        assert.isFalse(existsSync(directoryOf(server.port)))
      }
      if (source.kind === "processes") assert.isFalse(pids.some(runs))
    }), 60_000)

  // Containers have a reaper of their own, and without setpriv nobody ends a server for a worker that is gone.
  if (source.kind === "processes" && source.setpriv) {
    it.live(
      "ends with a killed test worker",
      () =>
        Effect.promise(async () => {
          const module = JSON.stringify(new URL("../support/servers/RedisServers.ts", import.meta.url).href)
          const program = `
        import { Effect } from "effect"
        import { RedisServers } from ${module}
        await Effect.gen(function*() {
          const [server] = yield* RedisServers
          const info = yield* server.command("INFO", "server")
          process.stdout.write(JSON.stringify({ port: server.port, pid: Number(/process_id:(\\d+)/.exec(info)[1]) }))
          yield* server.stop
          process.kill(process.pid, "SIGKILL")
        }).pipe(Effect.provide(RedisServers.layer(1)), Effect.runPromise)`
          const worker = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", program], {
            cwd: import.meta.dirname
          }).catch((cause) => cause)
          assert.strictEqual(worker.signal, "SIGKILL", worker.stderr)
          const server = JSON.parse(worker.stdout)
          // Its directory is the one thing that nobody is left to remove.
          rmSync(directoryOf(server.port), { recursive: true })
          await untilRefused({ host: "127.0.0.1", port: server.port })
          await expect.poll(() => runs(server.pid)).toBe(false)
        }),
      60_000
    )
  }
})

layer(RedisCluster.layer, { excludeTestServices: true, timeout: "60 seconds" })("RedisCluster", (it) => {
  const cluster = Effect.gen(function*() {
    const nodes = yield* RedisCluster
    return yield* Effect.acquireRelease(
      Effect.sync(() => new Cluster([...nodes])),
      (redis) => Effect.sync(() => redis.disconnect())
    )
  })

  it.effect("has three masters with a third of the slots each", () =>
    Effect.gen(function*() {
      const nodes = yield* RedisCluster
      const redis = yield* cluster
      const ranges = yield* Effect.promise(() => redis.cluster("SLOTS"))
      ranges.sort(([a], [b]) => a - b)
      assert.deepStrictEqual(
        ranges.map(([first, last]) => [first, last]),
        [[0, 5461], [5462, 10922], [10923, 16383]]
      )
      assert.sameMembers(ranges.map(([, , master]) => master?.[1]), nodes.map(({ port }) => port))
      assert.strictEqual(redis.nodes("master").length, 3)
    }))

  it.effect("takes a key for every master", () =>
    Effect.gen(function*() {
      const redis = yield* cluster
      // Slots 3300, 7365 and 16287.
      for (const key of ["b", "c", "x"]) {
        assert.strictEqual(yield* Effect.promise(() => redis.set(key, `value of ${key}`)), "OK")
        assert.strictEqual(yield* Effect.promise(() => redis.get(key)), `value of ${key}`)
      }
      const sizes = yield* Effect.promise(() => Promise.all(redis.nodes("master").map((node) => node.dbsize())))
      assert.deepStrictEqual(sizes, [1, 1, 1])
    }))
})
