/**
 * Writes over ioredis that count only once replicas have them.
 *
 * Redis replicates after it has answered. `WAIT` on the connection of a write asks
 * how many replicas have all that was written before, and waits for so many; it
 * keeps everything behind it on that connection waiting too. On another
 * connection it would tell nothing about the write: asked on a new one, of a
 * server that has just been promoted and never saw the write, it says yes at once.
 *
 * @see WAIT: https://redis.io/docs/latest/commands/wait/
 */
import type { Cluster, Redis } from "ioredis"
import { count } from "../redis/replies.ts"
import { listen, type Send } from "./batching.ts"
import type { Connection } from "./connection.ts"

/** How many replicas have to have a write, and within how much time. */
export interface Replicas {
  readonly count: number
  readonly withinMillis: number
}

/** Sends a write, whose yes comes once the replicas have acknowledged it. It fails when too few do. */
export const replicated = ({ client, send, watched }: Connection, replicas: Replicas): Send => {
  if (!client.isCluster) {
    const write = onOneConnection(client as Redis, send, replicas)
    return (name, args, listener) => listen(write(name, args), listener)
  }
  const write = inCluster(client as Cluster, replicas)
  return (name, args, listener) => listen(write(name, args), watched(name, args, listener))
}

type Write = (name: string, args: ReadonlyArray<string | number>) => Promise<unknown>

/**
 * One `WAIT` at a time, shared by all that was answered before it was sent: however
 * many locks are under way, none of them waits for more than two.
 */
const onOneConnection = (client: Redis, send: Send, replicas: Replicas): Write => {
  const sent: Write = (name, args) => new Promise((replied, failed) => send(name, args, { replied, failed }))
  let current: Promise<unknown> = Promise.resolve()
  let next: Promise<unknown> | undefined

  const acknowledged = () => {
    if (next === undefined) {
      const asked = next = current.then(() => {
        next = undefined
        return sent("wait", [replicas.count, Math.ceil(replicas.withinMillis)])
      })
      current = asked.catch(() => {})
    }
    return next
  }

  return async (name, args) => {
    const reply = await sent(name, args)
    if (isNo(reply)) return reply
    const { stream } = client
    const acknowledgements = await acknowledged()
    if (client.stream !== stream) throw new Error("the connection was lost before the replicas had acknowledged")
    check(acknowledgements, replicas)
    return reply
  }
}

/** Which of its connections a cluster client takes is its own affair; only a pipeline is sure to be sent on one. */
const inCluster = (cluster: Cluster, replicas: Replicas): Write => async (name, args) => {
  const [answer, acknowledged] = await cluster.pipeline([
    [name, ...args],
    ["wait", replicas.count, Math.ceil(replicas.withinMillis)]
  ]).exec() ?? []
  // A pipeline that writes is not sent again elsewhere. Nor may we: a release may have been sent meanwhile.
  if (answer?.[0]?.message.startsWith("MOVED ")) cluster.refreshSlotsCache()
  const reply = resultOf(answer)
  if (!isNo(reply)) check(resultOf(acknowledged), replicas)
  return reply
}

const resultOf = (answer: readonly [error: Error | null, result: unknown] | undefined): unknown => {
  if (answer === undefined) throw new Error("there was no answer")
  const [error, result] = answer
  if (error !== null) throw error
  return result
}

/** A refused `SET` or a script that did nothing. */
const isNo = (reply: unknown) => reply === null || count(reply) === 0

const check = (reply: unknown, replicas: Replicas): void => {
  const acknowledged = count(reply) ?? 0
  if (acknowledged >= replicas.count) return
  const word = replicas.count === 1 ? "replica" : "replicas"
  throw new Error(
    `NOREPLICAS ${acknowledged} of ${replicas.count} ${word} acknowledged within ${Math.ceil(replicas.withinMillis)} ms`
  )
}
