/** Some seeds of `npm run fuzz`, and that a seed is an exchange. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { once } from "node:events"
import { connect } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { RedisServers } from "../support/servers/RedisServers.ts"
import { Hostile, type Upstream } from "./hostile.ts"
import { makePlan } from "./plan.ts"
import { closeAdministrators, run } from "./run.ts"
import { runSeeds } from "./runner.ts"

/** Those that have found something once, and the first ones. */
const found = [130, 210, 20, 21, 24, 29, 41, 44, 74, 75, 91, 99, 101, 115, 131, 167, 177, 192, 225, 254, 286, 291]
const seeds = [...new Set([...found, ...Array.from({ length: 30 }, (_, index) => index + 1)])]

/** What was done with each command, by the connection's number and its own. */
const byLabel = (exchange: ReadonlyArray<string>) =>
  new Map(exchange.flatMap((line) => {
    const [, label, rest] = /^(\d+\.\d+\.\d+) (.*)$/.exec(line) ?? []
    return label === undefined || rest === undefined ? [] : [[label, rest] as const]
  }))

const commands = ["script LOAD", "set NX", "evalsha", "get", "set NX", "evalsha", "eval", "del", "get"]

/** The same commands, one after the other, as long as they are read. */
const converse = async (seed: number, upstream: Upstream, key: string) => {
  const hostile = new Hostile(seed, 0, makePlan(seed).style, upstream)
  const socket = connect(await hostile.listen())
  socket.on("error", () => {}).resume()
  await Promise.race([once(socket, "connect"), once(socket, "close")])
  const words: Record<string, ReadonlyArray<string>> = {
    "script LOAD": ["SCRIPT", "LOAD", "return 1"],
    "set NX": ["SET", key, "value", "NX", "PX", "60000"],
    evalsha: ["EVALSHA", "0".repeat(40), "1", key],
    eval: ["EVAL", "return {1, 'two', false}", "1", key],
    get: ["GET", key],
    del: ["DEL", key]
  }
  const isOver = () => socket.destroyed || hostile.exchange.some((line) => /: (?:deaf|close)/.test(line))
  for (const [index, command] of commands.entries()) {
    const all = words[command]!
    socket.write(`*${all.length}\r\n${all.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`)
    while (!isOver() && !hostile.exchange.some((line) => line.startsWith(`0.0.${index + 1} `))) await sleep(1)
    if (isOver()) break
  }
  socket.destroy()
  await hostile.close()
  return byLabel(hostile.exchange)
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("fuzzing", (it) => {
  it.effect("one seed is one exchange: the same command at the same place gets the same bytes", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      let compared = 0
      for (let seed = 1; seed <= 60; seed++) {
        const [first, second] = yield* Effect.promise(() =>
          Promise.all([converse(seed, server!, `one ${seed}`), converse(seed, server!, `two ${seed}`)])
        )
        for (const [label, what] of first) {
          if (!second.has(label)) continue
          assert.strictEqual(second.get(label), what, `seed ${seed}, command ${label}`)
          compared++
        }
      }
      assert.isAbove(compared, 200)
    }))

  it.effect("with the library too", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      // What is answered differs, as values do; what is done to it does not.
      const deeds = (seed: number) =>
        Effect.map(Effect.promise(() => run(seed, servers)), ({ exchange }) =>
          new Map([...byLabel(exchange)].map(([label, what]) => [label, /^[^"]*/.exec(what)![0].trim()])))
      let compared = 0
      for (const seed of [2, 3, 4]) {
        const [first, second] = yield* Effect.all([deeds(seed), deeds(seed)])
        for (const [label, what] of first) {
          const other = second.get(label)
          if (other?.split(":")[0] !== what.split(":")[0]) {
            continue
          }
          assert.strictEqual(other, what, `seed ${seed}, command ${label}`)
          compared++
        }
      }
      closeAdministrators()
      assert.isAbove(compared, 20)
    }))

  it.effect(
    "nonsense ends no process, hangs nothing, grants nothing and is told in words that can be read",
    () =>
      Effect.gen(function*() {
        const servers = (yield* RedisServers).map(({ host, port }) => ({ host, port }))
        const left = [...seeds]
        const summary = yield* Effect.promise(() => runSeeds(() => left.shift(), servers, 2))
        assert.deepStrictEqual(
          summary.kinds().map(({ first, seeds }) =>
            `npm run fuzz -- --seed ${seeds.join(", ")}: ${first.promise}: ${first.what}`
          ),
          []
        )
        assert.strictEqual(summary.seeds, seeds.length)
        // That something has happened at all.
        for (
          const [what, least] of [["commands tampered with", 100], ["free: success", 1], ["alive: success", 1]] as const
        ) {
          assert.isAtLeast(summary.counts.get(what) ?? 0, least, what)
        }
      }),
    900_000
  )
})
