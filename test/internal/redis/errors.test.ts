import { assert, it } from "@effect/vitest"
import { Cause } from "effect"
import { Redis } from "effect/persistence"
import { toNodeError } from "../../../src/internal/redis/errors.ts"

class TimeoutError extends Error {}

const told = (error: unknown) => {
  const { cause, reason } = toNodeError("a", "acquire", error)
  return [reason, (cause as Error).message]
}

it.each([
  ["of node-redis", new Redis.RedisError({ cause: new TimeoutError() }), "no reason given"],
  ["of the pool of Effect's Redis", new Redis.RedisError({ cause: new Cause.TimeoutError("waited") }), "waited"],
  ["of ioredis", new Error("Command timed out"), "Command timed out"]
])("a client's own time limit is a timeout: %s", (_, error, words) => {
  assert.deepStrictEqual(told(error), ["Timeout", words])
})

it("a host with several addresses is told by the error of the first", () => {
  const refused = (address: string) => new Error(`connect ECONNREFUSED ${address}`)
  const error = new AggregateError([refused("::1:6379"), refused("127.0.0.1:6379")])
  assert.deepStrictEqual(told(error), ["Disconnected", "connect ECONNREFUSED ::1:6379"])
})

it("what the servers of a cluster answered until its client gave up is the reason, and an answer", () => {
  const error = new Error("Too many Cluster redirections. Last error: ReplyError: TRYAGAIN Multiple keys request")
  assert.deepStrictEqual(told(error), ["Rejected", "TRYAGAIN Multiple keys request"])
})
