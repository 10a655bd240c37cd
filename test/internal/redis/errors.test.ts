import { assert, it } from "@effect/vitest"
import { Cause } from "effect"
import { Redis } from "effect/persistence"
import { scriptError, toNodeError } from "../../../src/internal/redis/errors.ts"
import { permitScripts } from "../../../src/internal/redis/permitScripts.ts"
import { scriptsByName } from "../../../src/internal/redis/scriptsByName.ts"
import { sharedScripts } from "../../../src/internal/redis/sharedScripts.ts"

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
  const gaveUp = (last: string) => new Error(`Too many Cluster redirections. Last error: ${last}`)
  const answer = gaveUp("ReplyError: TRYAGAIN Multiple keys request")
  assert.deepStrictEqual(told(answer), ["Rejected", "TRYAGAIN Multiple keys request"])
  assert.deepStrictEqual(told(gaveUp("Error: Connection is closed.")), ["Disconnected", "Connection is closed."])
})

it.each([
  "ERR Unknown Redis command called from script script: 0af, on @user_script:1.",
  "ERR Unknown command called from script script: 0af, on @user_script:1.",
  "ERR Error running script (call to f_0af): @user_script:1: @user_script: 1: Unknown Redis command called from Lua script"
])("a command that the server does not have is named where a script calls it: %s", (message) => {
  const error = scriptError(`return redis.call("PTTL", KEYS[1])`, ["a"], new Error(message))
  assert.strictEqual((error as Error).message, "ERR unknown command 'pttl' in a script")
})

it("no line of a script runs two commands, of which an error would name the first", () => {
  const all = [scriptsByName, permitScripts, sharedScripts].flatMap((scripts) => Object.values(scripts))
  const lines = all.flatMap(({ lua }) => lua.split("\n"))
  const commands = (line: string) => new Set(line.match(/redis\.p?call\("\w+"/g))
  assert.deepStrictEqual(lines.filter((line) => commands(line).size > 1), [])
})
