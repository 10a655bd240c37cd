/**
 * The node that conformance cases are about.
 */
import { assert } from "@effect/vitest"
import { Context, Effect, Option, Schedule } from "effect"
import type { LockNode, NodeError } from "../../src/index.ts"

/** The node under test. */
export class Subject extends Context.Service<Subject, {
  readonly node: LockNode
  /** Lets so much time pass for the keys of the node. */
  readonly elapse: (millis: number) => Effect.Effect<void>
  /** By how much a time to live may be less than what was set a moment ago. */
  readonly slackMillis: number
}>()("effect-redsync/test/Subject") {}

/** Real servers count whole milliseconds, and so do timers: a little more than asked for is on the safe side. */
export const realTime = {
  elapse: (millis: number): Effect.Effect<void> => Effect.sleep(millis + 5),
  slackMillis: 5000
}

/** The servers behind the node, asked by other means than the node. */
export class Backend extends Context.Service<Backend, {
  /** Runs a command on the server that has the key, which is its first argument. */
  readonly onKey: <A = unknown>(command: string, key: string, ...args: ReadonlyArray<string>) => Effect.Effect<A>
  /** Makes every server forget its scripts. */
  readonly flushScripts: Effect.Effect<void>
}>()("effect-redsync/test/Backend") {}

/** Long against any delay of a test, short enough to come back as a number of milliseconds. */
export const expiry = 60_000

export const oddKeys: ReadonlyArray<readonly [kind: string, key: string]> = [
  ["spaces", "two words "],
  ["unicode", "ключ-鍵-🔒"],
  ["braces", "a{b}{c}"],
  ["an unclosed brace", "{a"],
  ["a line break and a zero byte", "a\r\nb\0c"],
  ["1 KB", "k".repeat(1024)]
]

export const assertTtl = (slackMillis: number, ttlMillis: number, expected: number) => {
  assert.isAtMost(ttlMillis, expected)
  assert.isAtLeast(ttlMillis, expected - slackMillis)
}

/** The node as one that delays restarts by a second, once the key's server has been up for so long. */
export const oldEnough = (key: string) =>
  Effect.gen(function*() {
    const old = (yield* Subject).node.delayedRestart!(1000)
    yield* Effect.repeat(old.abstention!(key), { schedule: Schedule.spaced("50 millis"), until: Option.isNone })
    return old
  })

export const assertNodeError = (
  error: NodeError,
  node: LockNode,
  operation: NodeError["operation"],
  reason: NodeError["reason"],
  words: RegExp
): void => {
  assert.deepStrictEqual([error.node, error.operation, error.reason], [node.id, operation, reason])
  assert.match(error.cause instanceof Error ? error.cause.message : String(error.cause), words)
}
