/** What a benchmark ran on. */
import { Effect } from "effect"
import { availableParallelism, cpus, totalmem } from "node:os"
import type { RedisServer } from "../support/servers/RedisServers.ts"

export const machine = (server: RedisServer): Effect.Effect<string> =>
  Effect.map(server.command<string>("INFO", "server"), (info) => {
    const field = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1]
    const valkey = field("valkey_version")
    const version = valkey === undefined ? `Redis ${field("redis_version")}` : `Valkey ${valkey}`
    const gibibytes = Math.round(totalmem() / 2 ** 30)
    return `${availableParallelism()} × ${cpus()[0]?.model.trim()}, ${gibibytes} GiB, ${process.platform}; ` +
      `Node ${process.versions.node}; ${version} on the same machine`
  })
