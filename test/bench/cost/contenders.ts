/**
 * Those whose cost is compared. All of them hold a key for 8 seconds on the same
 * servers, over a connection to each; what a library needs is loaded only in the
 * process that measures it.
 */
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { type Peer, peers } from "../peers.ts"
import { expiryMillis, freshName, mustBeRefused, type Open, repeating, takenName } from "./work.ts"

const connect = async (urls: ReadonlyArray<string>, enableAutoPipelining: boolean): Promise<Array<Redis>> => {
  const { Redis } = await import("ioredis")
  const clients = urls.map((url) => new Redis(url, { lazyConnect: true, enableAutoPipelining }))
  for (const client of clients) client.on("error", () => {})
  await Promise.all(clients.map((client) => client.connect()))
  return clients
}

/**
 * Written by hand, and no more: all nodes at once, a
 * random value, the compare-and-delete by its digest, a majority. It gives up
 * nothing but what makes it a library: it waits for the slowest node, never
 * tries again, takes nothing back after a failure, and extends nothing.
 */
const raw = (enableAutoPipelining: boolean): Open => async (urls) => {
  const clients = await connect(urls, enableAutoPipelining)
  const quorum = Math.floor(clients.length / 2) + 1
  const script = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
  const digests = await Promise.all(clients.map((client) => client.script("LOAD", script)))
  const digest = String(digests[0])

  const lock = async (name: string, value: string): Promise<boolean> => {
    const answers = await Promise.all(clients.map((client) => client.set(name, value, "PX", expiryMillis, "NX")))
    let granted = 0
    for (const answer of answers) if (answer === "OK") granted++
    return granted >= quorum
  }
  const unlock = async (name: string, value: string): Promise<void> => {
    const answers = await Promise.all(clients.map((client) => client.evalsha(digest, 1, name, value)))
    let released = 0
    for (const answer of answers) if (answer === 1) released++
    if (released < quorum) throw new Error(`Only ${released} nodes had ${name}`)
  }
  return {
    repeat: repeating({
      "lock and unlock": async () => {
        const name = freshName()
        const value = randomUUID()
        if (!await lock(name, value)) throw new Error(`${name} is taken`)
        await unlock(name, value)
      },
      "refused": async () => {
        if (await lock(takenName, randomUUID())) throw mustBeRefused()
      }
    }),
    hold: async (name, body) => {
      const value = randomUUID()
      if (!await lock(name, value)) throw new Error(`${name} is taken`)
      await body()
      await unlock(name, value)
    }
  }
}

const peer = (make: Peer): Open => async (urls) => {
  const clients = await connect(urls, false)
  const take = await make(clients, { expiryMillis, waits: true })
  const takeOnce = await make(clients, { expiryMillis, waits: false })
  return {
    repeat: repeating({
      "lock and unlock": async () => {
        const release = await take(freshName())
        await release()
      },
      "refused": async () => {
        const isRefused = await takeOnce(takenName).then(() => false, () => true)
        if (!isRefused) throw mustBeRefused()
      }
    }),
    hold: async (name, body) => {
      const release = await take(name)
      await body()
      await release()
    }
  }
}

const ours: Open = async (urls) => (await import("./ours.ts")).open(urls)

export const contenders = {
  "raw": raw(false),
  "raw, auto-pipelined": raw(true),
  "effect-redsync": ours,
  "redlock": peer(peers["redlock"]),
  "@sesamecare-oss/redlock": peer(peers["@sesamecare-oss/redlock"]),
  "redis-semaphore": peer(peers["redis-semaphore"]),
  "redlock-universal": peer(peers["redlock-universal"])
} satisfies Record<string, Open>

export type ContenderName = keyof typeof contenders

export const names = Object.keys(contenders) as Array<ContenderName>

/** The libraries but ours. */
export const peerNames = Object.keys(peers) as Array<keyof typeof peers>
