/**
 * The rights that the README says a Redis user needs: they are enough, and none of
 * them is too many.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { readFileSync } from "node:fs"
import { IoredisNode, type LockNode, type NodeError } from "../src/index.ts"
import { type RedisServer, RedisServers } from "./support/RedisServers.ts"

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8")
const rule = /^ACL SETUSER locker ([^`]+)^```$/m.exec(readme)?.[1]?.trim().split(/\s+/) ?? []
const commands = rule.filter((right) => right.startsWith("+")).map((right) => right.slice(1))

/** A node of a user with these rights, on a server that knows no script. */
const nodeOf = (server: RedisServer, rights: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    yield* server.command("ACL", "DELUSER", "locker")
    yield* server.command("ACL", "SETUSER", "locker", ...rights)
    yield* server.command("FLUSHALL")
    yield* server.command("SCRIPT", "FLUSH")
    const node = yield* IoredisNode.make(`redis://locker:password@${server.host}:${server.port}/1`)
    yield* node.ready!
    return node
  })

/** Everything that can be asked of a node; what it complains of. */
const complaints = (node: LockNode.LockNode): Effect.Effect<Array<string>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const heard: Array<string> = []
    const hear = (notice: LockNode.Notice) => {
      if (notice._tag === "Unable") heard.push(notice.why)
    }
    const ask = <A>(operation: Effect.Effect<A, NodeError>) =>
      Effect.matchEffect(operation, {
        onFailure: (error) => Effect.sync(() => void heard.push(error.message)),
        onSuccess: () => Effect.void
      })

    yield* ask(node.acquire("locks:a", "mine", 60_000))
    yield* ask(node.extend("locks:a", "mine", 60_000))
    yield* ask(node.inspect("locks:a"))
    yield* ask(node.release("locks:a", "mine"))
    yield* ask(node.remove("locks:a"))
    yield* ask(node.fencing!.acquire("locks:b", "mine", 60_000, 1))
    yield* ask(node.fencing!.raise("locks:b", "mine", 2))
    yield* ask(node.delayedRestart!(1).abstention!("locks:c"))
    yield* ask(node.replicas!(0, 10).acquire("locks:d", "mine", 60_000))
    // Two wait for a lock whose release tells the first of them; the second goes to the front, and leaves.
    const [first, second] = [yield* node.waitingList!("first", hear), yield* node.waitingList!("second", hear)]
    yield* ask(node.acquire("locks:e", "mine", 60_000))
    yield* ask(first.join("locks:e", "back"))
    yield* ask(second.join("locks:e", "front"))
    yield* ask(second.leave("locks:e"))
    yield* ask(first.release("locks:e", "mine", false))
    return heard
  })

layer(RedisServers.layer(1), { excludeTestServices: true, timeout: "60 seconds" })("the rights of the README", (it) => {
  const scenario = (rights: ReadonlyArray<string>) =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      return yield* complaints(yield* nodeOf(server!, rights))
    })

  it.effect("are enough for everything", () =>
    Effect.gen(function*() {
      assert.isAbove(commands.length, 15)
      assert.deepStrictEqual(yield* scenario(rule), [])
    }))

  it.effect.each(commands)("without %s there is a complaint that names it", (command) =>
    Effect.gen(function*() {
      const heard = yield* scenario(rule.filter((right) => right !== `+${command}`))
      assert.isTrue(
        heard.some((words) =>
          words.includes(`'${command}' command`) || words.includes(`may not ${command.toUpperCase()} `)
        ),
        `It said ${JSON.stringify(heard)}`
      )
    }))

  it.effect.each(rule.filter((right) => /^[~&]/.test(right)))(
    "without %s there is a complaint",
    (right) =>
      Effect.gen(function*() {
        const heard = yield* scenario(rule.filter((other) => other !== right))
        assert.isNotEmpty(heard)
      })
  )
})
