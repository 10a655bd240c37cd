/**
 * Writes over ioredis that succeed only once replicas have them.
 *
 * Redis replicates after it has replied. `WAIT` reports how many replicas have
 * everything that was written before on its own connection, and waits for the given
 * number; it also blocks everything behind it on that connection. On another
 * connection it would prove nothing: on a new connection to a server that has just been
 * promoted, and never saw the write, it succeeds at once.
 *
 * @see WAIT: https://redis.io/docs/latest/commands/wait/
 */
import type { Cluster, Redis } from "ioredis"
import { isRefusal, tooFewReplicas, waitArguments } from "../redis/acknowledgements.ts"
import type { Arguments, Replicas } from "../redis/client.ts"
import { listen, type SendCommand } from "./batching.ts"
import type { Connection } from "./connection.ts"

/** Sends a write, which fails unless enough replicas acknowledge it. */
export const replicated = ({ client, send, watched }: Connection, replicas: Replicas): SendCommand => {
  if (!client.isCluster) {
    const write = onOneConnection(client as Redis, send, replicas)
    return (name, args, listener) => listen(write(name, args), listener)
  }
  const write = inCluster(client as Cluster, replicas)
  return (name, args, listener) => listen(write(name, args), watched(name, args, listener))
}

type Write = (name: string, args: Arguments) => Promise<unknown>

/**
 * One `WAIT` at a time, shared by all writes that were answered before it was sent. However
 * many locks are in flight, none of them waits for more than two.
 */
const onOneConnection = (client: Redis, send: SendCommand, replicas: Replicas): Write => {
  const sent: Write = (name, args) =>
    new Promise((resolve, reject) => send(name, args, { onReply: resolve, onError: reject }))
  let current: Promise<unknown> = Promise.resolve()
  let next: Promise<unknown> | undefined

  const acknowledged = () => {
    if (next === undefined) {
      const asked = next = current.then(() => {
        next = undefined
        return sent("wait", waitArguments(replicas))
      })
      current = asked.catch(() => {})
    }
    return next
  }

  return async (name, args) => {
    const reply = await sent(name, args)
    if (isRefusal(reply)) return reply
    const { stream } = client
    const acknowledgements = await acknowledged()
    if (client.stream !== stream) throw new Error("the connection was lost before the replicas had acknowledged")
    return acknowledgedBy(acknowledgements, replicas, reply)
  }
}

/** A cluster client chooses the connection of each command; only a pipeline is sure to be sent on one. */
const inCluster = (cluster: Cluster, replicas: Replicas): Write => async (name, args) => {
  const [answer, acknowledged] = await cluster.pipeline([
    [name, ...args],
    ["wait", ...waitArguments(replicas)]
  ]).exec() ?? []
  // A pipeline that writes is not redirected, and must not be sent again: a release may have been sent meanwhile.
  if (answer?.[0]?.message.startsWith("MOVED ")) cluster.refreshSlotsCache()
  const reply = resultOf(answer)
  return isRefusal(reply) ? reply : acknowledgedBy(resultOf(acknowledged), replicas, reply)
}

const resultOf = (answer: readonly [error: Error | null, result: unknown] | undefined): unknown => {
  if (answer === undefined) throw new Error("there was no answer")
  const [error, result] = answer
  if (error !== null) throw error
  return result
}

/** The reply to a write, unless too few replicas have acknowledged it. */
const acknowledgedBy = (acknowledgements: unknown, replicas: Replicas, reply: unknown): unknown => {
  const error = tooFewReplicas(acknowledgements, replicas)
  if (error !== undefined) throw error
  return reply
}
