/**
 * Servers that come back empty: what they let in, and how `delayedRestart` keeps
 * it out.
 */
import { assert, layer } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer, Option, Schedule } from "effect"
import {
  ErrFailed,
  inspect,
  lock,
  NodesUnavailable,
  Redsync,
  retryPolicy,
  withFencedLock,
  withLock
} from "../../../src/index.ts"
import { scriptsByName } from "../../../src/internal/redis/scriptsByName.ts"
import * as IoredisNode from "../../../src/IoredisNode.ts"
import { five, logged, onEach, until, untilAllAnswer, urls, using } from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const once = { retry: retryPolicy({ tries: 1 }) }
const expiry = 60_000

/** At least: it is a difference of two times in whole seconds. */
const upSeconds = (server: RedisServer) =>
  Effect.map(
    server.command<string>("INFO", "server"),
    (info) => Number(/uptime_in_seconds:(\d+)/.exec(info)![1]) - 1
  )

const untilUp = (servers: ReadonlyArray<RedisServer>, seconds: number) =>
  until(
    `the servers have been up for ${seconds} s`,
    Effect.map(onEach(servers, upSeconds), (up) => up.every((up) => up >= seconds))
  )

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })("delayedRestart", (it) => {
  /** Holds a lock on A, B and C alone; then C comes back empty, and another service asks C, D and E. */
  const secondHolder = (delayedRestart?: number) =>
    Effect.gen(function*() {
      const servers = yield* five
      const [, , c, d, e] = servers
      yield* untilUp(servers, delayedRestart === undefined ? 0 : delayedRestart / 1000)
      const options = { nodes: urls(servers), expiry, ...(delayedRestart !== undefined && { delayedRestart }) }
      return yield* Effect.gen(function*() {
        yield* untilAllAnswer
        for (const server of [d, e]) yield* server.command("SET", "a", "a rival who has given up", "PX", "60000")
        yield* lock("a", { autoExtend: false })
        yield* c.restart
        for (const server of [d, e]) yield* server.command("DEL", "a")
        yield* untilAllAnswer
        const elsewhere = using(options)
        return yield* Effect.exit(
          elsewhere(Effect.andThen(untilAllAnswer, withLock("a", Effect.succeed("second"), once)))
        )
      }).pipe(Effect.scoped, using(options))
    })

  it.effect("without it, a server that comes back empty lets a second holder in", () =>
    Effect.gen(function*() {
      const exit = yield* secondHolder()
      assert(exit._tag === "Success")
    }))

  it.effect("with it, that server abstains and the second is refused", () =>
    Effect.gen(function*() {
      const exit = yield* secondHolder(3000)
      assert(exit._tag === "Failure")
      const [reason] = exit.cause.reasons
      assert(reason?._tag === "Fail" && reason.error instanceof ErrFailed)
      assert.match(reason.error.message, /abstains: up for only \d s, votes after \d s/)
    }))

  it.effect("it shows in the error, in inspect, and in one line of the log when it begins and ends", () =>
    Effect.gen(function*() {
      const servers = yield* five
      const [a, b, c] = servers
      const three = [a, b, c]
      const logs = logged()
      yield* untilUp(three, 3)
      yield* Effect.gen(function*() {
        yield* untilAllAnswer
        yield* Effect.forEach([a, b], (server) => server.restart)
        yield* untilAllAnswer
        logs.forget()
        for (const attempt of [withLock("a", Effect.void, once), withFencedLock("a", () => Effect.void, once)]) {
          const error = yield* Effect.flip(attempt)
          assert.instanceOf(error, NodesUnavailable)
          assert.match(error.message, new RegExp(`${a.port} abstains: up for only \\d s, votes after \\d s; `))
          for (const vote of error.votes.slice(0, 2)) {
            assert(vote._tag === "Failed")
            assert.strictEqual(vote.error.reason, "Abstained")
          }
        }
        const { nodes } = yield* inspect("a")
        assert.deepStrictEqual(nodes.map(({ _tag }) => _tag), ["Free", "Free", "Free"])
        const abstains = nodes.map((node) => node._tag === "Failed" ? undefined : node.abstains)
        assert.match(abstains[0]!, /^up for only \d s, votes after \d s$/)
        assert.isUndefined(abstains[2])
        assert.deepStrictEqual(
          [logs.down(a).length, logs.down(b).length, logs.down(c).length, logs.up().length],
          [1, 1, 0, 0]
        )
        yield* Effect.retry(withLock("a", Effect.void, once), { schedule: Schedule.spaced("50 millis") })
        yield* untilUp(three, 3)
        yield* withLock("a", Effect.void, once)
        yield* until("both answer again", Effect.sync(() => logs.up(a).length === 1 && logs.up(b).length === 1))
        assert.deepStrictEqual([logs.down(a).length, logs.down(b).length, logs.up().length], [1, 1, 2])
      }).pipe(using({ nodes: urls(three), expiry, delayedRestart: "3 seconds" }, logs))
    }))

  it.effect("no grant slips in between a reconnect and the look at the uptime", () =>
    Effect.gen(function*() {
      const [a] = yield* five
      const owned = yield* IoredisNode.make(a.url)
      yield* owned.ready!
      const node = owned.delayedRestart!(3_600_000)
      let abstained = 0
      let over = false
      // As fast as it goes, from before the restart until well after the connection is back.
      const hammer = (who: number) => {
        let round = 0
        return Effect.suspend(() => node.acquire(`${who}-${round++}`, "mine", expiry)).pipe(
          Effect.matchEffect({
            onSuccess: () => Effect.die(new Error("granted by a young server")),
            onFailure: (error) => {
              if (error.reason === "Abstained") abstained++
              return Effect.yieldNow
            }
          }),
          Effect.repeat({ until: () => over })
        )
      }
      const restarts = Effect.gen(function*() {
        for (let round = 0; round < 5; round++) {
          yield* a.restart
          const seen = abstained
          yield* until("the server answers again", Effect.sync(() => abstained > seen + 20))
        }
        over = true
      })
      yield* Effect.all([restarts, hammer(1), hammer(2)], { concurrency: "unbounded" })
      assert.strictEqual(yield* a.command("DBSIZE"), 0)
    }).pipe(Effect.scoped))

  it.effect("uptime comes in whole seconds: a server that was started late in one does not vote sooner", () =>
    Effect.gen(function*() {
      const [a] = yield* five
      const node = (yield* IoredisNode.make(a.url)).delayedRestart!(2000)
      yield* a.kill
      yield* Effect.suspend(() => Effect.sleep((1880 - Date.now() % 1000) % 1000))
      const startedAt = performance.now()
      yield* a.restart
      yield* Effect.retry(node.acquire("a", "mine", expiry), { schedule: Schedule.spaced("20 millis") })
      assert.isAtLeast(performance.now() - startedAt, 2000)
    }).pipe(Effect.scoped))

  it.effect("a server whose clock was set back to before its start counts as just started", () =>
    Effect.gen(function*() {
      const [a] = yield* five
      const anHourBack = (lua: string) =>
        `local server = redis
local redis = {error_reply = server.error_reply, call = function(command, ...)
  return command == "INFO" and "uptime_in_seconds:-3600" or server.call(command, ...)
end}
${lua}`
      assert.strictEqual(yield* a.command("EVAL", anHourBack(scriptsByName.uptime.lua), "1", "a"), 0)
      const acquire = a.command("EVAL", anHourBack(scriptsByName.acquire.lua), "1", "a", "mine", "60000", "1000")
      assert.include(String(yield* Effect.flip(Effect.sandbox(acquire))), "ABSTAINS 0 1000")
    }))

  it.effect("layerEnv takes it from REDSYNC_DELAYED_RESTART", () =>
    Effect.gen(function*() {
      const [a] = yield* five
      const env = { REDSYNC_NODES: a.url, REDSYNC_DELAYED_RESTART: "1 hour" }
      const services = yield* Layer.build(Redsync.layerEnv()).pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown(env))
      )
      assert.isTrue(Option.isSome(Context.getOption(services, Redsync.Redsync)))
      const error = yield* Effect.flip(Effect.provide(withLock("a", Effect.void, once), services))
      assert.match(error.message, /abstains: up for only \d+ s, votes after \d+ s/)
    }).pipe(Effect.scoped))
})
