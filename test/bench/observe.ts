/** What the servers count, between two looks at them. */
import { Effect, type Scope } from "effect"
import { Redis } from "ioredis"
import type { RedisServer } from "../support/servers/RedisServers.ts"
import { sum } from "./statistics.ts"

export interface Counts {
  /** Commands by name, those that scripts run among them. */
  readonly calls: ReadonlyMap<string, number>
  /** Bytes that clients sent, and that they got. */
  readonly bytesIn: number
  readonly bytesOut: number
  readonly cpuMicros: number
  readonly expiredKeys: number
}

export const add = (one: Counts, other: Counts): Counts => {
  const calls = new Map(one.calls)
  for (const [command, count] of other.calls) calls.set(command, (calls.get(command) ?? 0) + count)
  return {
    calls,
    bytesIn: one.bytesIn + other.bytesIn,
    bytesOut: one.bytesOut + other.bytesOut,
    cpuMicros: one.cpuMicros + other.cpuMicros,
    expiredKeys: one.expiredKeys + other.expiredKeys
  }
}

export interface Observer {
  /** What has happened on the server since the last look. */
  readonly look: Effect.Effect<Counts>
  readonly keys: Effect.Effect<number>
}

const question = ["stats", "commandstats", "cpu"] as const
const questionBytes = sum(["info", ...question].map((word) => `$${word.length}\r\n${word}\r\n`.length)) +
  "*4\r\n".length

/** Looks without counting itself: one connection, and what its own questions and answers add is taken off. */
export const observe = (server: RedisServer): Effect.Effect<Observer, never, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const client = new Redis(server.url, { lazyConnect: true, protocol: 2 })
        await client.connect()
        return client
      }),
      (client) => Effect.sync(() => client.disconnect())
    )
    const ask = async () => {
      const info = await client.info(...question)
      const length = Buffer.byteLength(info)
      return { info, answerBytes: `$${length}\r\n`.length + length + "\r\n".length }
    }
    let last = yield* Effect.promise(ask)
    return {
      look: Effect.promise(async () => {
        const before = last
        last = await ask()
        const difference = (field: string) => numberOf(last.info, field) - numberOf(before.info, field)
        const calls = callsOf(last.info)
        for (const [command, count] of callsOf(before.info)) calls.set(command, (calls.get(command) ?? 0) - count)
        calls.delete("info")
        return {
          calls,
          bytesIn: difference("total_net_input_bytes") - questionBytes,
          bytesOut: difference("total_net_output_bytes") - before.answerBytes,
          cpuMicros: (difference("used_cpu_user") + difference("used_cpu_sys")) * 1e6,
          expiredKeys: difference("expired_keys")
        }
      }),
      // Not among the counts: asked between the last look and a look whose answer is thrown away.
      keys: Effect.promise(() => client.dbsize())
    }
  })

const numberOf = (info: string, field: string) => Number(new RegExp(`^${field}:([\\d.]+)`, "m").exec(info)?.[1])

const callsOf = (info: string) =>
  new Map([...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = "", calls]) => [name, Number(calls)]))
