/**
 * Waiting over Effect's Redis service: handed over, woken, and watching keys as far as
 * the client can.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { Redis } from "effect/persistence"
import { RedisNode, withLock } from "../../../src/index.ts"
import { clientLayer, nodeOver, type NodeRedisOptions, tracked } from "../../support/effectRedis.ts"
import { holdByAnother, onEach, until, untilAllAnswer, untilEmpty } from "../../support/faults.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import {
  channelsOf,
  connectionsTo,
  counted,
  deleteOn,
  handedOver,
  hourly,
  killSubscribers,
  kindsOf,
  onThree,
  service,
  type Three,
  untilListed
} from "../../support/trouble.ts"

type Run = Effect.Success<ReturnType<typeof service>>["run"]

const over = (servers: Three, options?: NodeRedisOptions) =>
  Effect.tap(service(servers.map(({ url }) => nodeOver(url, options))), ({ run }) => run(untilAllAnswer))

/** Of a service whose clients are unknown, as those of another package. */
const overUnknown = (servers: Three) =>
  Effect.flatMap(
    Effect.forEach(servers, ({ url }, index) =>
      Effect.map(
        Layer.build(clientLayer(url)),
        (context) => RedisNode.make(Context.get(context, Redis.Redis), { id: `unknown ${index}` })
      )),
    (nodes) => service(nodes)
  )

const overIoredis = (servers: Three) => Effect.tap(service(servers), ({ run }) => run(untilAllAnswer))

/** Gets the lock only if something wakes it. */
const waitFor = (run: Run, name = "a", { retry } = hourly) =>
  Effect.forkScoped(run(withLock(name, Effect.void, { retry })))

/** Holds the lock until the other service waits for it, which then gets it. */
const passOn = (servers: Three, holder: Run, waiter: Run) =>
  Effect.flatMap(
    holder(withLock("a", () => Effect.tap(waitFor(waiter), untilListed(servers, "a", 1)))),
    Fiber.join
  )

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("over Effect's Redis", (it) => {
  it.effect.each(["turns only", "with emitInvalidate"])(
    "locks are handed over, %s",
    (which) =>
      onThree(Effect.fnUntraced(function*(servers) {
        const before = yield* handedOver
        const options = which === "turns only" ? {} : tracked
        const [one, other] = [yield* over(servers, options), yield* over(servers, options)]
        const turns = 20
        for (let turn = 0; turn < turns; turn++) {
          const [holder, next] = turn % 2 === 0 ? [one, other] : [other, one]
          yield* passOn(servers, holder.run, next.run)
        }
        // A release that comes first wakes the next in line instead.
        assert.isAbove((yield* handedOver) - before, 0)
      }))
  )

  it.effect("waiters of ioredis wake those of Effect's Redis, and are woken by them", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const services = [yield* overIoredis(servers), yield* over(servers), yield* overUnknown(servers)]
      for (const holder of services) {
        for (const waiter of services) if (waiter !== holder) yield* passOn(servers, holder.run, waiter.run)
      }
    })))

  it.effect("with emitInvalidate the first in line is woken by a DEL, an expiry and a FLUSHALL", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { run } = yield* over(servers, tracked)
      const releases = {
        "a DEL": deleteOn(servers, "a"),
        "an expiry": onEach(servers, (server) => server.command("PEXPIRE", "a", "1")),
        "a FLUSHALL": onEach(servers, (server) => server.command("FLUSHALL"))
      }
      for (const release of Object.values(releases)) {
        yield* holdByAnother("a", servers)
        const waiter = yield* waitFor(run)
        yield* untilListed(servers, "a", 1)
        yield* release
        yield* Fiber.join(waiter)
      }
    })))

  it.effect("without it, by the schedule, and nothing is logged", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { logs, run } = yield* over(servers)
      yield* holdByAnother("a", servers)
      const waiter = yield* waitFor(run, "a", counted("200 millis"))
      yield* untilListed(servers, "a", 1)
      yield* deleteOn(servers, "a")
      yield* Fiber.join(waiter)
      assert.deepStrictEqual(logs.lines, [])
    })))

  it.effect("however many locks are waited for, a service has one subscription to a server", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [holder, waiter] = [yield* over(servers), yield* over(servers)]
      const names = Array.from({ length: 20 }, (_, index) => `many-${index}`)
      const held = names.reduce(
        (program: Effect.Effect<unknown, unknown, never>, name) => holder.run(withLock(name, program)),
        Effect.gen(function*() {
          const waiters = yield* Effect.forEach(names, (name) => waitFor(waiter.run, name))
          yield* Effect.forEach(names, (name) => untilListed(servers, name, 1), { concurrency: 5 })
          for (const server of servers) assert.isAtMost((yield* channelsOf(server)).length, 2)
          return waiters
        }).pipe(Effect.scoped)
      )
      yield* held
    })))

  it.effect("a subscription that was cut off is made again, and misses no more than a turn", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [one, other] = [yield* over(servers), yield* over(servers)]
      yield* passOn(servers, one.run, other.run)
      yield* onEach(servers, killSubscribers)
      yield* until(
        "they are subscribed again",
        Effect.map(onEach(servers, channelsOf), (channels) => channels.some((names) => names.length > 0))
      )
      yield* passOn(servers, one.run, other.run)
      yield* passOn(servers, other.run, one.run)
    })))

  it.effect("waiters stand in line again after all connections were lost", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { run } = yield* over(servers, tracked)
      yield* holdByAnother("a", servers)
      const waiter = yield* waitFor(run)
      yield* untilListed(servers, "a", 1)
      yield* onEach(
        servers,
        (server) =>
          Effect.flatMap(
            connectionsTo(server),
            (connections) => onEach(connections, ({ id }) => server.command("CLIENT", "KILL", "ID", id))
          )
      )
      yield* until(
        "their keys are watched again",
        Effect.map(onEach(servers, kindsOf), (kinds) => kinds.every((kind) => kind.includes("looks")))
      )
      yield* untilListed(servers, "a", 1)
      yield* deleteOn(servers, "a")
      yield* Fiber.join(waiter)
    })))

  it.effect("a server that was restarted is waited on again", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const [one, other] = [yield* over(servers), yield* over(servers)]
      yield* passOn(servers, one.run, other.run)
      for (const server of servers) yield* server.restart
      yield* Effect.all([one.run(untilAllAnswer), other.run(untilAllAnswer)])
      yield* passOn(servers, one.run, other.run)
      yield* passOn(servers, other.run, one.run)
      yield* until(
        "subscriptions that were replaced are closed",
        Effect.map(onEach(servers, kindsOf), (kinds) =>
          kinds.every((kinds) => kinds.filter((kind) => kind === "hears").length <= 2))
      )
    })))

  it.effect("a user who may not SUBSCRIBE waits on the schedule, which is said once", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* onEach(servers, (server) =>
        Effect.andThen(
          server.command("ACL", "DELUSER", "ada"),
          server.command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all", "-subscribe")
        ))
      const { logs, run } = yield* service(
        servers.map(({ host, port }) => nodeOver(`redis://ada:secret@${host}:${port}`))
      )
      for (let round = 0; round < 2; round++) {
        yield* holdByAnother("a", servers)
        const waiter = yield* waitFor(run, "a", counted("200 millis"))
        yield* until("it is said", Effect.sync(() => logs.lines.length > 0))
        yield* deleteOn(servers, "a")
        yield* Fiber.join(waiter)
        yield* untilEmpty(servers)
      }
      for (const server of servers) assert.isAtMost(logs.down(server).length, 1, logs.lines.join("\n"))
      for (const line of logs.lines) assert.match(line, /has no waiting lists.*NOPERM/)
      assert.notInclude(logs.lines.join("\n"), "secret")
    })))

  it.effect("a service closes while it subscribes to a server that is stopped", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      yield* holdByAnother("a", servers)
      yield* Effect.scoped(Effect.gen(function*() {
        const { run } = yield* over(servers)
        yield* onEach(servers, ({ stop }) => stop)
        yield* waitFor(run)
      }))
      yield* onEach(servers, ({ resume }) => resume)
      yield* deleteOn(servers, "a")
    })))
})
