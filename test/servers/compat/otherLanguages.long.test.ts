/**
 * Locks of go-redsync and of redis-py beside ours, readers among them: each is kept out
 * by the other in the other's own words, and nobody's state suffers.
 *
 * Both libraries are got from their registries, into a directory of their own: `go`,
 * `python3` and `pip` have to be there.
 */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { copyFileSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import {
  ErrFailed,
  lock,
  Redsync,
  retryPolicy,
  sharedLock,
  tryLock,
  trySharedLock,
  withLock
} from "../../../src/index.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const programs = fileURLToPath(new URL("programs", import.meta.url))

type Ask = (verb: string, name: string) => Effect.Effect<string>

/** Runs a program that answers each line with one. */
const conversation = (command: string, args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] })),
      (child) => Effect.sync(() => child.kill())
    ),
    (child): Ask => {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      return (verb, name) =>
        Effect.promise(async () => {
          child.stdin.write(`${verb} ${name}\n`)
          return String((await lines.next()).value)
        })
    }
  )

/** A directory that is gone with the tests. */
const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "redsync-languages-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const quietly = (command: string, cwd: string, ...args: ReadonlyArray<string>) =>
  execFileSync(command, args, { cwd, stdio: ["ignore", "ignore", "pipe"] })

class GoRedsync extends Context.Service<GoRedsync, { readonly ask: Ask }>()("GoRedsync") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const version = "v4.18.1"
      const path = yield* directory
      copyFileSync(join(programs, "goRedsync.go"), join(path, "main.go"))
      quietly("go", path, "mod", "init", "interop")
      quietly("go", path, "get", `github.com/go-redsync/redsync/v4@${version}`, "github.com/redis/go-redis/v9")
      quietly("go", path, "build", "-o", "interop", ".")
      const addresses = (yield* RedisServers).map(({ host, port }) => `${host}:${port}`)
      return { ask: yield* conversation(join(path, "interop"), addresses) }
    })
  )
}

class RedisPy extends Context.Service<RedisPy, { readonly ask: Ask }>()("RedisPy") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const path = yield* directory
      quietly("python3", path, "-m", "venv", "venv")
      quietly(join(path, "venv/bin/pip"), path, "install", "--quiet", "redis==8.1.0")
      const [server] = yield* RedisServers
      return {
        ask: yield* conversation(join(path, "venv/bin/python"), [join(programs, "redisPy.py"), server!.url])
      }
    })
  )
}

/** Of redis-py, whose locks are on one server, the first. */
const ours = (count: number) =>
  Layer.unwrap(
    Effect.map(RedisServers, (servers) => Redsync.layer({ nodes: servers.slice(0, count).map(({ url }) => url) }))
  )

/** Each of its answers where the key is another's, or not there. */
interface Words {
  readonly refused: string
  readonly lostOnExtend: string
  readonly lostOnRelease: string
}

const interop = (ask: Ask, nodes: number, words: Words) =>
  Effect.gen(function*() {
    const once = { retry: retryPolicy({ tries: 1 }) }
    const servers = (yield* RedisServers).slice(0, nodes)

    // They hold: neither our writer nor our reader comes in, and both do once they have released.
    assert.strictEqual(yield* ask("acquire", "theirs"), "true")
    const refused = yield* Effect.flip(withLock("theirs", Effect.void, once))
    assert.instanceOf(refused, ErrFailed)
    assert.match(refused.message, /held by another for about \d+\.\d s more/)
    assert.deepStrictEqual(yield* trySharedLock("theirs"), Option.none())
    assert.strictEqual(yield* ask("extend", "theirs"), "true")
    assert.strictEqual(yield* ask("release", "theirs"), "true")
    assert.isTrue(Option.isSome(yield* trySharedLock("theirs")))

    // Our writer holds.
    const writer = yield* lock("written")
    assert.strictEqual(yield* ask("acquire", "written"), words.refused)
    assert.isTrue(yield* writer.release)
    assert.strictEqual(yield* ask("acquire", "written"), "true")
    assert.strictEqual(yield* ask("release", "written"), "true")

    // Our readers hold, and go on holding.
    const readers = [yield* sharedLock("read"), yield* sharedLock("read")]
    assert.strictEqual(yield* ask("acquire", "read"), words.refused)
    for (const reader of readers) {
      yield* reader.extend
      assert.isTrue(yield* reader.isHeld)
    }
    assert.isTrue(yield* readers[0]!.release)
    assert.strictEqual(yield* ask("acquire", "read"), words.refused)
    assert.isTrue(yield* readers[1]!.release)
    assert.strictEqual(yield* ask("acquire", "read"), "true")
    assert.deepStrictEqual(yield* trySharedLock("read"), Option.none())

    // Their lock is lost to readers: they are told as of any other that has it, and the readers do not suffer.
    yield* Effect.forEach(servers, ({ command }) => command("DEL", "read"))
    const successors = [yield* sharedLock("read"), yield* sharedLock("read")]
    assert.strictEqual(yield* ask("extend", "read"), words.lostOnExtend)
    assert.strictEqual(yield* ask("release", "read"), words.lostOnRelease)
    for (const reader of successors) assert.isTrue(yield* reader.isHeld)
    assert.deepStrictEqual(yield* tryLock("read"), Option.none())
  }).pipe(Effect.scoped, Effect.provide(ours(nodes)))

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "10 minutes" })("other languages", (it) => {
  it.effect("go-redsync", () =>
    Effect.gen(function*() {
      const { ask } = yield* GoRedsync
      const words = { refused: "taken", lostOnExtend: "taken", lostOnRelease: "taken" }
      yield* interop(ask, 3, words)
      assert.strictEqual(yield* ask("acquire", "valid"), "true")
      assert.strictEqual(yield* ask("valid", "valid"), "true")
    }).pipe(Effect.provide(GoRedsync.layer)), 600_000)

  it.effect("redis-py", () =>
    Effect.gen(function*() {
      const { ask } = yield* RedisPy
      const words = { refused: "false", lostOnExtend: "LockNotOwnedError", lostOnRelease: "LockNotOwnedError" }
      yield* interop(ask, 1, words)
      yield* Effect.scoped(
        Effect.gen(function*() {
          assert.strictEqual(yield* ask("acquire", "seen"), "true")
          assert.strictEqual(yield* ask("owned", "seen"), "true")
          yield* Effect.flatMap(RedisServers, ([server]) => server!.command("DEL", "seen"))
          yield* sharedLock("seen")
          // Who only looks gets an answer, and no error.
          assert.strictEqual(yield* ask("locked", "seen"), "true")
          assert.strictEqual(yield* ask("owned", "seen"), "false")
        })
      ).pipe(Effect.provide(ours(1)))
    }).pipe(Effect.provide(RedisPy.layer)), 600_000)
})
