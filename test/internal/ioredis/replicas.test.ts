/**
 * Writes that wait for replicas, on a client that does what the test says.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { replicated } from "../../../src/internal/ioredis/replicas.ts"

/** A connection whose replies come in the next turn; `onWait` is called before that to `WAIT`. */
const connection = (acknowledged: unknown, onWait: (client: { stream: object }) => void = () => {}) => {
  const client = { isCluster: false, stream: {} }
  const sent: Array<string> = []
  const write = replicated({
    client,
    watched: (_name: string, _args: unknown, listener: unknown) => listener,
    send: (name: string, _: unknown, listener: { readonly onReply: (reply: unknown) => void }) => {
      sent.push(name)
      if (name === "wait") onWait(client)
      const reply = name === "wait" ? acknowledged : name === "set" ? "OK" : 0
      setImmediate(() => listener.onReply(reply))
    }
  } as never, { count: 1, withinMillis: 100 })
  const answer = (name: string) =>
    Effect.callback<unknown>((resume) =>
      write(name, ["a"], {
        onReply: (reply) => resume(Effect.succeed(reply)),
        onError: (error) => resume(Effect.succeed((error as Error).message))
      })
    )
  return { answer, sent }
}

describe("a write that waits for replicas", () => {
  it.live("is answered once they have it, or says how many have", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* connection(1).answer("set"), "OK")
      assert.strictEqual(yield* connection("2").answer("set"), "OK")
      const tooFew = "NOREPLICAS 0 of 1 replica acknowledged within 100 ms"
      assert.strictEqual(yield* connection(0).answer("set"), tooFew)
      assert.strictEqual(yield* connection("nonsense").answer("set"), tooFew)
    }))

  it.live("is no answer if the connection was another one by then, whose server may never have seen it", () =>
    Effect.gen(function*() {
      const { answer } = connection(1, (client) => client.stream = {})
      assert.strictEqual(yield* answer("set"), "the connection was lost before the replicas had acknowledged")
    }))

  it.live("asks for none if it was refused, and for many writes at most twice", () =>
    Effect.gen(function*() {
      const { answer, sent } = connection(1)
      assert.strictEqual(yield* answer("evalsha"), 0)
      assert.deepStrictEqual(sent.splice(0), ["evalsha"])
      const answers = yield* Effect.all(Array.from({ length: 10 }, () => answer("set")), { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(answers), new Set(["OK"]))
      assert.isAtMost(sent.filter((name) => name === "wait").length, 2)
    }))
})
