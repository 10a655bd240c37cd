import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { ErrFailed, LockLost, NodeError } from "effect-redsync/LockError"
import * as fc from "fast-check"
import { masked, quoted, untrusted } from "../../../src/internal/base/text.ts"
import { nodeAddress, secretsOf } from "../../../src/internal/ioredis/url.ts"
import { toNodeError } from "../../../src/internal/redis/errors.ts"

const invisible = /(?! )[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u

/** Any text at all, often with what a terminal or an eye would take for something else. */
const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 400 }),
  fc.string({
    unit: fc.constantFrom(
      "a",
      " ",
      "\n",
      "\u001b[31m",
      "\u009b",
      "\u202e",
      "\u2066",
      "\u200b",
      "\ufeff",
      "\u00ad",
      "\ud800"
    ),
    maxLength: 400
  })
)

describe("text from outside", () => {
  it("is one line of what can be seen, and not long", () => {
    fc.assert(fc.property(anyText, (text) => {
      for (const shown of [untrusted(text), quoted(text)]) {
        assert.notMatch(shown, invisible)
        assert.isAtMost(shown.length, 203)
      }
    }))
  })

  it("is shown as it is where nothing is wrong with it", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom("a", "Z", "0", " ", ":", "é", "語", "😀", "'", "\\", "\""), maxLength: 100 }),
        (text) => {
          assert.strictEqual(untrusted(text), text)
          assert.strictEqual(quoted(text), JSON.stringify(text))
        }
      )
    )
  })

  it("is cut without looking at all of it, and never inside a character", () => {
    const long = "😀".repeat(10_000_000)
    assert.strictEqual(untrusted(long), `${"😀".repeat(100)}…`)
    assert.strictEqual(untrusted("\u202e".repeat(200)), `${"\\u202e".repeat(33)}…`)
  })

  it("is told apart by what stands for it", () => {
    assert.strictEqual(quoted("a\u202eb\n\u{e0041}\"\\"), String.raw`"a\u202eb\n\u{e0041}\"\\"`)
  })
})

describe("errors", () => {
  const nasty = "\u001b[2J\u202e\nx"
  it.each<readonly [string, Error]>([
    ["a name", new ErrFailed({ lock: nasty, attempts: 1, waited: Duration.zero, votes: [] })],
    ["a node", new LockLost({ lock: "x", reason: "Taken", votes: [{ _tag: "Refused", node: nasty }] })],
    ["a type", new LockLost({ lock: "x", reason: "Taken", votes: [{ _tag: "Refused", node: "n", notALock: nasty }] })],
    ["a cause", new NodeError({ node: "n", operation: "acquire", reason: "Rejected", cause: nasty })],
    ["an error", new NodeError({ node: "n", operation: "acquire", reason: "Rejected", cause: new Error(nasty) })],
    ["a node of an error", new NodeError({ node: nasty, operation: "acquire", reason: "Timeout" })],
    ["a reply", toNodeError("n", "acquire", new Error(`ERR ${nasty}`)).cause as Error]
  ])("escape %s", (_, error) => {
    assert.notMatch(error.message, invisible)
    assert.include(error.message, String.raw`\u001b[2J\u202e\nx`)
  })

  it("are not as long as what a server says", () => {
    const error = toNodeError("n", "acquire", new Error(`ERR ${"x".repeat(1_000_000)}`))
    assert.isBelow(error.message.length, 300)
  })
})

describe("secrets", () => {
  const key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----\n"
  const options = {
    host: "h",
    password: "hunter2 %",
    sentinelPassword: "sentinel-pw",
    tls: { key: [Buffer.from(key), { pem: "pem-pem", passphrase: "phrase" }], passphrase: "other phrase" }
  }

  it.each([
    "hunter2 %",
    encodeURIComponent("hunter2 %"),
    "sentinel-pw",
    key,
    "pem-pem",
    "phrase",
    "other phrase"
  ])("stay out of what a server or a client says: %j", (secret) => {
    const said = new Error(`ERR wrong number of arguments: HELLO 3 AUTH default ${secret} SETNAME x`)
    const { cause } = toNodeError("h:6379", "acquire", said, secretsOf({ options }))
    assert.strictEqual((cause as Error).message, "ERR wrong number of arguments: HELLO 3 AUTH default *** SETNAME x")
  })

  it.each<readonly [string, object, string]>([
    ["a host", { host: "hunter2@h" }, "***:6379"],
    ["a host that is a URL", { host: "redis://:hunter2@h" }, "***:6379"],
    ["a path", { path: "redis://ada:hunter2@h:1/0" }, "redis://***@h:1/0"],
    ["a path without a host", { path: "redis://:hunter2" }, "redis://***"],
    [
      "a Sentinel name",
      { name: "redis://:hunter2@h", sentinels: [{ host: "s" }] },
      "sentinel redis://***@h at s:26379"
    ],
    ["a Sentinel", { name: "main", sentinels: [{ host: "hunter2@s" }] }, "sentinel main at ***:26379"]
  ])("stay out where one was written by mistake: %s", (_, options, address) => {
    assert.strictEqual(nodeAddress(options), address)
    const said = new Error(`getaddrinfo ENOTFOUND ${Object.values(options).map((x) => JSON.stringify(x)).join(" ")}`)
    const { message } = toNodeError(address, "acquire", said, secretsOf({ options }))
    assert.notInclude(message, "hunter2")
  })

  it("are masked in a cluster's errors, whichever of its nodes has them", () => {
    const cluster = {
      isCluster: true,
      options: { redisOptions: { password: "hunter2" } },
      startupNodes: ["redis://:hunter3@a:7000", { host: "b", password: "hunter4" }, "redis://c:7000"]
    }
    const text = masked("hunter2 hunter3 hunter4 c:7000", secretsOf(cluster as never))
    assert.strictEqual(text, "*** *** *** c:7000")
  })

  it("leave the node's own id alone, and words of fewer than four letters", () => {
    const options = { host: "redis.local", password: "redis", sentinelPassword: "no" }
    const { message } = toNodeError(
      "redis.local:6379",
      "acquire",
      new Error("connect ECONNREFUSED redis.local:6379, no redis"),
      secretsOf({ options })
    )
    assert.strictEqual(
      message,
      "Node redis.local:6379 is not connected: connect ECONNREFUSED redis.local:6379, no *** (acquire)"
    )
  })

  it("are hidden though they hold the id, or begin as another does", () => {
    assert.strictEqual(
      masked("redis123 redis redis1234 .*+", ["redis123", "redis1234", ".*+?"], "redis"),
      "*** redis *** .*+"
    )
  })

  it("are hidden before the text is cut", () => {
    const { message } = toNodeError("n", "acquire", new Error(`ERR ${"x".repeat(190)} hunter2`), ["hunter2"])
    assert.notInclude(message, "hun")
  })

  it("leave names of sockets and hosts as they are", () => {
    assert.strictEqual(nodeAddress({ path: "/run/redis@6379.sock" }), "/run/redis@6379.sock")
    assert.deepStrictEqual(
      secretsOf({ options: { path: "/run/redis@6379.sock", host: "a", username: "ada", password: "" } }),
      [""]
    )
  })
})
