/**
 * Fencing tokens from real servers, over each kind of node.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import { fencedLock, Fencing, forceUnlock, type LockNode, withFencedLock } from "../../src/index.ts"
import { companionKey } from "../../src/internal/redis/keys.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { nodeOver } from "../support/effectRedis.ts"
import { callsOf, onEach, untilAllAnswer } from "../support/faults.ts"
import { type RedisServer, RedisServers } from "../support/servers/RedisServers.ts"
import { assertIncreasing, client, tokenOf } from "../support/tokens.ts"
import { handedOver, hourly, onThree, service, type Three, untilListed } from "../support/trouble.ts"

const kinds: Record<string, (server: RedisServer) => Effect.Effect<LockNode, never, Scope.Scope>> = {
  IoredisNode: ({ url }) => IoredisNode.make(url),
  RedisNode: ({ url }) => nodeOver(url)
}

/** The counters of tokens stay for an hour. */
const onThreeFenced = <A, E>(test: (servers: Three) => Effect.Effect<A, E, Scope.Scope>) =>
  onThree((servers) =>
    Effect.andThen(
      Effect.scoped(test(servers)),
      onEach(servers, (server) => server.command("DEL", companionKey("fencing", "a")))
    )
  )

for (const [kind, nodeOf] of Object.entries(kinds)) {
  layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })(`tokens over ${kind}`, (it) => {
    /** Nodes of a client, one of which may be missing: none of its fenced grants are asked for. */
    const nodesOf = (servers: ReadonlyArray<RedisServer>, isAbsent: (index: number) => boolean) =>
      Effect.forEach(servers, (server, index) =>
        Effect.gen(function*() {
          const node = yield* nodeOf(server)
          const fencing = node.fencing!
          yield* node.ready!
          const partial: LockNode = {
            ...node,
            fencing: { ...fencing, acquire: (...args) => isAbsent(index) ? Effect.never : fencing.acquire(...args) }
          }
          return partial
        }))

    it.effect("1,500 acquisitions over rotating quorums, three clients 150 ms apart: strictly increasing", () =>
      Effect.gen(function*() {
        const servers = yield* RedisServers
        let absent = 0
        const nodes = yield* nodesOf(servers, (index) => index === absent)
        const clients = yield* Effect.forEach([-150, 0, 150], (ahead) => client(nodes, ahead))
        const command = kind === "IoredisNode" ? "evalsha" : "eval"
        const tokens: Array<Fencing.FencingToken> = []
        for (let round = 0; round < 1500; round++) {
          absent = round % 3
          tokens.push(yield* tokenOf(clients[Math.floor(round / 2) % 3]!))
        }
        assertIncreasing(tokens)
        const calls = yield* Effect.forEach(servers, (server) => callsOf(server, command))
        // Each node takes part in two of three acquisitions and in every release; the rest are second rounds.
        assert.isAbove(calls.reduce((sum, count) => sum + count), 1500 * (2 + 3))
        yield* Effect.forEach(servers, (server) => server.command("FLUSHALL"))
      }).pipe(Effect.scoped))

    it.effect("of a lock that is handed over from service to service: strictly increasing", () =>
      onThreeFenced(Effect.fnUntraced(function*(servers) {
        const services = yield* Effect.forEach(
          [0, 1, 2],
          () => Effect.tap(service(servers.map((server) => nodeOf(server))), ({ run }) => run(untilAllAnswer))
        )
        const accept = yield* Fencing.guard
        const tokens: Array<Fencing.FencingToken> = []
        const work = (token: Fencing.FencingToken) =>
          Effect.andThen(accept(token), Effect.sync(() => void tokens.push(token)))
        const before = yield* handedOver
        for (let turn = 0; turn < 20; turn++) {
          const [holder, next] = [services[turn % 3]!, services[(turn + 1) % 3]!]
          const waits = Effect.tap(
            Effect.forkScoped(next.run(withFencedLock("a", work, hourly))),
            untilListed(servers, "a", 1)
          )
          yield* Effect.flatMap(
            holder.run(withFencedLock("a", (token) => Effect.andThen(work(token), waits))),
            Fiber.join
          )
        }
        assertIncreasing(tokens)
        assert.lengthOf(tokens, 40)
        assert.isAbove((yield* handedOver) - before, 0)
      })))

    it.effect("of a former holder are rejected, whoever took its lock away", () =>
      onThreeFenced(Effect.fnUntraced(function*(servers) {
        const open = service(servers.map((server) => nodeOf(server)))
        const [former, present] = [yield* open, yield* open]
        const accept = yield* Fencing.guard
        const error = yield* former.run(Effect.scoped(Effect.gen(function*() {
          const { token } = yield* fencedLock("a")
          yield* accept(token)
          yield* present.run(Effect.andThen(forceUnlock("a"), withFencedLock("a", accept)))
          return yield* Effect.flip(accept(token))
        })))
        assert.instanceOf(error, Fencing.StaleToken)
      })))

    it.effect("increase although each server in turn restarts without its counters", () =>
      onThreeFenced(Effect.fnUntraced(function*(servers) {
        const { run } = yield* service(servers.map((server) => nodeOf(server)))
        const tokens: Array<Fencing.FencingToken> = []
        const take = run(Effect.flatMap(
          withFencedLock("a", Effect.succeed),
          (token) => Effect.sync(() => void tokens.push(token))
        ))
        for (const server of servers) {
          yield* take
          yield* server.restart
          yield* take
          yield* run(untilAllAnswer)
          yield* take
        }
        assertIncreasing(tokens)
      })))
  })
}
