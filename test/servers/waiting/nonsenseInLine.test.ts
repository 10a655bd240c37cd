/**
 * Lines in which somebody has put what is no entry, and notices that come for a lock
 * in use, forged or late: nobody loses a lock by them, nor waits any longer.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { type Lock, withLock } from "../../../src/index.ts"
import { serviceIdLength } from "../../../src/internal/nodeContract.ts"
import { companionKey, wakeUpChannel } from "../../../src/internal/redis/keys.ts"
import { callsOf, onEach, until, valuesOf } from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"
import { deleteOn, hourly, onThree, service, type Three, untilListed } from "../../support/trouble.ts"

type Run = Effect.Success<ReturnType<typeof service>>["run"]

const list = companionKey("line", "a")

/** Waits, and gets the lock only if it is handed over or the waiter is woken. */
const waitFor = (run: Run, got: (lock: Lock) => Effect.Effect<void> = () => Effect.void) =>
  Effect.forkScoped(run(withLock("a", got, hourly)))

/** A service listens from when it first waits. */
const untilItListens = (run: Run, servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    const { run: other } = yield* service(servers.map(({ url }) => url))
    yield* Effect.flatMap(
      other(withLock("a", () => Effect.tap(waitFor(run), untilListed(servers, "a", 1)))),
      Fiber.join
    )
  })

const junks: Record<string, (entry: string) => string> = {
  "words": () => "two words",
  "an entry of several words": () => "x1:two words",
  "words of a service that waits": (entry) => `${entry} and more`,
  "a text of a megabyte": () => "x".repeat(1_000_000),
  "nothing": () => ""
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a line with nonsense in it",
  (it) => {
    it.effect.each(
      Object.keys(junks).flatMap((what) => (["BEFORE", "AFTER"] as const).map((where) => ({ what, where })))
    )(
      "$what $where the first: each is told of its turn",
      ({ what, where }) =>
        onThree(Effect.fnUntraced(function*([server]) {
          // No other node makes up for what is lost.
          const alone = service([server.url])
          const [holder, first, second] = [yield* alone, yield* alone, yield* alone]
          yield* untilItListens(holder.run, [server])
          const order: Array<string> = []
          const enter = (who: string, { run }: typeof first) => waitFor(run, () => Effect.sync(() => order.push(who)))
          const waiters = yield* holder.run(withLock("a", () =>
            Effect.gen(function*() {
              const one = yield* enter("first", first)
              yield* untilListed([server], "a", 1)
              const other = yield* enter("second", second)
              yield* untilListed([server], "a", 2)
              const [head = "", next = ""] = yield* server.command<Array<string>>("LRANGE", list, "0", "-1")
              yield* server.command("LINSERT", list, where, head, junks[what]!(next))
              yield* server.command("CONFIG", "RESETSTAT")
              return [one, other]
            }), { expiry: "1 minute" }))
          yield* Fiber.joinAll(waiters)
          assert.deepStrictEqual(order, ["first", "second"])
          assert.strictEqual(yield* callsOf(server, "lpos"), 0, "nobody had to look again")
          yield* deleteOn([server], list)
        }))
    )
  }
)

const notices: Record<string, (value: string) => string> = {
  "a turn": (value) => `W ${value} - a`,
  "a hand-over": (value) => `T ${value} 1700000000000 5000 1 0 - - a`,
  "a hand-over in the far future": (value) => `T ${value} 999999999999999 999999999999999 1 0 - - a`
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(
  "a notice for a lock in use",
  (it) => {
    /** Sends the notice, and waits until whatever comes of it has been done: the next one has an effect that can be seen. */
    const send = Effect.fnUntraced(function*(servers: Three, { value }: Lock, notice: string, to = value) {
      const channel = wakeUpChannel(to.slice(0, serviceIdLength))
      yield* onEach(servers, (server) => server.command("PUBLISH", channel, notice))
      const dead = `${to.slice(0, serviceIdLength)}${"0".repeat(16)}`
      const calls = onEach(servers, (server) => callsOf(server, "lrem"))
      const before = yield* calls
      yield* onEach(servers, (server) => server.command("PUBLISH", channel, `W ${dead} - a`))
      yield* until("it has read them", Effect.map(calls, (now) => now.every((calls, index) => calls > before[index]!)))
      assert.deepStrictEqual(yield* valuesOf("a", servers), servers.map(() => value))
    })

    it.effect.each(Object.keys(notices))(
      "%s, sent to another service: it stays",
      (what) =>
        onThree(Effect.fnUntraced(function*(servers) {
          const [one, other] = [yield* service(servers), yield* service(servers)]
          yield* untilItListens(other.run, servers)
          const valueOfOther = yield* other.run(withLock("b", ({ value }) => Effect.succeed(value)))
          yield* one.run(
            withLock("a", (lock) => send(servers, lock, notices[what]!(lock.value), valueOfOther), hourly)
          )
        }))
    )

    it.effect.each(
      Object.keys(notices).flatMap((what) =>
        (["granted", "handed over", "abandoned"] as const).map((how) => ({ what, how }))
      )
    )("$what, which was $how: it stays", ({ how, what }) =>
      onThree(Effect.fnUntraced(function*(servers) {
        const [one, other] = [yield* service(servers), yield* service(servers)]
        yield* untilItListens(one.run, servers)
        yield* untilItListens(other.run, servers)
        const held = (lock: Lock) =>
          Effect.gen(function*() {
            if (how === "abandoned") yield* lock.abandon
            yield* send(servers, lock, notices[what]!(lock.value))
          })
        if (how === "granted") {
          yield* other.run(withLock("a", held, hourly))
        } else {
          const waiter = yield* one.run(
            withLock("a", () => Effect.tap(waitFor(other.run, held), untilListed(servers, "a", 1)))
          )
          assert.deepStrictEqual(yield* Fiber.await(waiter), Exit.void)
        }
        yield* deleteOn(servers, "a")
      })))
  }
)
