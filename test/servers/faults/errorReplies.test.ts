/**
 * Real servers that answer with errors: a minority of them costs nothing but a
 * line in the log, and a majority is told in the servers' own words.
 */
import { assert, layer } from "@effect/vitest"
import { Cause, Effect, Exit, Schedule, type Scope } from "effect"
import { lock, NodesUnavailable, retryPolicy, withLock } from "../../../src/index.ts"
import {
  administer,
  type FakeServer,
  fakeServer,
  five,
  logged,
  onEach,
  until,
  untilAllAnswer,
  untilEmpty,
  urls,
  using
} from "../../support/faults.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const once = { retry: retryPolicy({ tries: 1 }) }

/** Whoever waits for the time of a node to be over has waited too long. */
const endless = { expiry: "1 day", nodeTimeout: "1 hour" } as const

const password = "s3cret-p4ss"

/** How ioredis words a missing connection, which tells nobody on call anything. */
const clientsOwnTerms = /enableOfflineQueue|maxRetriesPerRequest/

/** A server that can be brought to refuse locks. */
interface Refusing {
  readonly url: string
  readonly break: Effect.Effect<void>
  readonly mend: Effect.Effect<void>
}

type Kind = readonly [
  name: string,
  /** What its message has to say. */
  words: RegExp,
  /** Whether connections break, so that the first thing a caller sees is that. */
  cutOff: boolean,
  make: (server: RedisServer) => Effect.Effect<Refusing, never, Scope.Scope>
]

const admitAll = (server: RedisServer) => administer(server, ["CONFIG SET requirepass "], password)

const commands = (server: RedisServer, ...all: ReadonlyArray<string>) =>
  Effect.asVoid(Effect.forEach(all, (command) => server.command(...command.split(" "))))

const fake = (error: string) => () =>
  Effect.map(fakeServer(""), (server: FakeServer): Refusing => ({
    url: server.url,
    break: Effect.sync(() => {
      server.error = error
    }),
    mend: Effect.sync(() => {
      server.error = ""
    })
  }))

const kinds: ReadonlyArray<Kind> = [
  ["READONLY", /READONLY You can't write against a read only replica/, false, (server) =>
    Effect.succeed({
      url: server.url,
      break: commands(server, "REPLICAOF 127.0.0.1 1"),
      mend: commands(server, "REPLICAOF NO ONE")
    })],
  ["OOM", /OOM command not allowed when used memory > 'maxmemory'/, false, (server) =>
    Effect.succeed({
      url: server.url,
      break: commands(server, "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"),
      mend: commands(server, "CONFIG SET maxmemory 0")
    })],
  ["NOAUTH", /NOAUTH /, true, (server) =>
    Effect.succeed({
      url: server.url,
      break: administer(server, [`CONFIG SET requirepass ${password}`, "CLIENT KILL TYPE normal"]),
      mend: admitAll(server)
    })],
  [
    "WRONGPASS",
    /WRONGPASS /,
    true,
    (server) =>
      Effect.as(commands(server, `ACL SETUSER locker on >${password} ~* &* +@all`), {
        url: server.url.replace("redis://", `redis://locker:${password}@`),
        break: commands(server, "ACL SETUSER locker resetpass >another", "CLIENT KILL USER locker"),
        mend: commands(server, `ACL SETUSER locker resetpass >${password}`)
      })
  ],
  [
    "NOPERM",
    /NOPERM [^;]* 'set' command/,
    false,
    (server) =>
      Effect.as(commands(server, `ACL SETUSER locker on >${password} ~* &* +@all`), {
        url: server.url.replace("redis://", `redis://locker:${password}@`),
        break: commands(server, "ACL SETUSER locker -set"),
        mend: commands(server, "ACL SETUSER locker +set")
      })
  ],
  [
    "NOPERM for the key",
    /NOPERM /,
    false,
    (server) =>
      Effect.as(commands(server, `ACL SETUSER locker on >${password} ~* &* +@all`), {
        url: server.url.replace("redis://", `redis://locker:${password}@`),
        break: commands(server, "ACL SETUSER locker resetkeys ~other:*"),
        mend: commands(server, "ACL SETUSER locker ~*")
      })
  ],
  ["LOADING", /LOADING Redis is loading/, false, fake("LOADING Redis is loading the dataset in memory")],
  [
    "MISCONF",
    /MISCONF Errors writing/,
    false,
    fake("MISCONF Errors writing to the RDB file, commands that may modify are off")
  ]
]

const usable = Effect.scoped(withLock("a", Effect.void, once))

layer(RedisServers.layer(5), { excludeTestServices: true, timeout: "60 seconds" })(
  "servers that answer errors",
  (it) => {
    for (const [name, words, cutOff, make] of kinds) {
      it.effect(`${name}: a minority goes unnoticed, a majority is told`, () =>
        Effect.gen(function*() {
          const servers = yield* five
          const [a, b, c, d, e] = servers
          const refusing = yield* Effect.forEach([a, b, c], make)
          const [first, second, third] = refusing
          assert(first !== undefined && second !== undefined && third !== undefined)
          const logs = logged()
          yield* Effect.gen(function*() {
            yield* untilAllAnswer
            logs.forget()
            yield* usable

            yield* onEach([first, second], (node) => node.break)
            for (let round = 0; round < 5; round++) yield* usable
            yield* until("both are logged", Effect.sync(() => logs.down().length >= 2))
            assert.strictEqual(logs.down().length, 2, logs.lines.join("\n"))
            for (const line of logs.down()) {
              assert.match(line, cutOff ? /is not connected|answered with an error/ : words)
              assert.notMatch(line, clientsOwnTerms)
            }

            yield* third.break
            // A connection that was cut off learns why with its first try to come back.
            const error = yield* Effect.repeat(Effect.flip(Effect.scoped(lock("a", once))), {
              until: ({ message }) => message.match(new RegExp(words, "g"))?.length === 3,
              schedule: Schedule.spaced("20 millis"),
              times: cutOff ? 1000 : 0
            })
            assert(error instanceof NodesUnavailable)
            assert.strictEqual(error.message.match(new RegExp(words, "g"))?.length, 3, error.message)
            assert.strictEqual(
              error.votes.filter((vote) => vote._tag === "Failed").length,
              3
            )
            const again = yield* Effect.flip(Effect.scoped(lock("a", { retry: retryPolicy({ tries: 3, delay: 10 }) })))
            assert.match(again.message, words)
            assert.strictEqual(logs.down().length, 3, logs.lines.join("\n"))
            assert.deepStrictEqual(logs.up(), [])

            yield* onEach(refusing, (node) => node.mend)
            yield* until(
              "all are logged again",
              Effect.andThen(Effect.exit(usable), Effect.sync(() => logs.up().length >= 3))
            )
            for (let round = 0; round < 5; round++) yield* usable
            assert.strictEqual(logs.lines.length, 6, logs.lines.join("\n"))

            const printed = [
              ...logs.lines,
              error.message,
              String(error),
              JSON.stringify(error),
              again.message,
              String(again.stack)
            ]
            for (const text of [...printed, Cause.pretty(Cause.fail(error))]) assert.notInclude(text, password)
          }).pipe(
            using({ nodes: [...refusing.map(({ url }) => url), ...urls([d, e])], ...endless }, logs)
          )
          yield* untilEmpty(servers)
        }))
    }

    it.effect("NOAUTH and WRONGPASS from the start: the layer is built, and locks say why", () =>
      Effect.gen(function*() {
        const servers = yield* five
        const [a, b, c, d, e] = servers
        yield* onEach([a, b, c], (server) => administer(server, [`CONFIG SET requirepass ${password}`]))
        yield* Effect.addFinalizer(() => onEach([a, b, c], admitAll))
        const wrong = a.url.replace("redis://", "redis://:wr0ng-p4ss@")
        const logs = logged()
        const exit = yield* Effect.exit(usable).pipe(
          using({ nodes: [wrong, ...urls([b, c, d, e])], ...endless }, logs)
        )
        assert(Exit.isFailure(exit))
        const told = Cause.pretty(exit.cause)
        assert.match(told, /:\d+ answered with an error: WRONGPASS/)
        assert.strictEqual(told.match(/answered with an error: NOAUTH/g)?.length, 2, told)
        for (const text of [told, ...logs.lines]) assert.notMatch(text, /wr0ng-p4ss|s3cret-p4ss/)
      }))

    it.effect("a password set while connected: connections that are there go on", () =>
      Effect.gen(function*() {
        const servers = yield* five
        const logs = logged()
        yield* Effect.gen(function*() {
          yield* untilAllAnswer
          logs.forget()
          yield* onEach(servers, (server) => administer(server, [`CONFIG SET requirepass ${password}`]))
          yield* usable
          yield* onEach(servers, admitAll)
        }).pipe(using({ nodes: urls(servers) }, logs))
        assert.deepStrictEqual(logs.lines, [])
      }))
  }
)
