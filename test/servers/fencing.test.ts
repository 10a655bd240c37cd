/**
 * Fencing tokens from real servers.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import type { Fencing, LockNode } from "../../src/index.ts"
import * as IoredisNode from "../../src/IoredisNode.ts"
import { callsOf } from "../support/faults.ts"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { assertIncreasing, client, tokenOf } from "../support/tokens.ts"

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("tokens from real servers", (it) => {
  it.effect("1,500 acquisitions over rotating quorums, three clients 150 ms apart: strictly increasing", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const real = yield* Effect.forEach(servers, ({ url }) => IoredisNode.make(url))
      yield* Effect.forEach(real, (node) => node.ready!)
      let absent = 0
      const nodes = real.map((node, index): LockNode => ({
        ...node,
        fencing: {
          ...node.fencing!,
          acquire: (...args) => index === absent ? Effect.never : node.fencing!.acquire(...args)
        }
      }))
      const clients = yield* Effect.forEach([-150, 0, 150], (ahead) => client(nodes, ahead))
      const tokens: Array<Fencing.FencingToken> = []
      for (let round = 0; round < 1500; round++) {
        absent = round % 3
        tokens.push(yield* tokenOf(clients[Math.floor(round / 2) % 3]!))
      }
      assertIncreasing(tokens)
      const calls = yield* Effect.forEach(servers, (server) => callsOf(server, "evalsha"))
      // Each node takes part in two of three acquisitions and in every release; the rest are second rounds.
      assert.isAbove(calls.reduce((sum, count) => sum + count), 1500 * (2 + 3))
    }).pipe(Effect.scoped))
})
