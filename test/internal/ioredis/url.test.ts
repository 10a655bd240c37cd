import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { nodeAddress, parseRedisUrl, splitUrls } from "../../../src/internal/ioredis/url.ts"

const good: Record<string, object> = {
  "redis://host": { host: "host", port: 6379 },
  "redis://host:7000": { host: "host", port: 7000 },
  "redis://host:7000/": { host: "host", port: 7000 },
  "redis://10.0.0.1:7000": { host: "10.0.0.1", port: 7000 },
  "REDIS://host": { host: "host", port: 6379 },
  "rediss://host": { host: "host", port: 6379, tls: {} },
  "redis://[::1]:7000": { host: "::1", port: 7000 },
  "redis://[2001:db8::7]": { host: "2001:db8::7", port: 6379 },
  "redis://host/0": { host: "host", port: 6379, db: 0 },
  "redis://host:7000/15": { host: "host", port: 7000, db: 15 },
  "redis://:secret@host": { host: "host", port: 6379, password: "secret" },
  "redis://ada@host": { host: "host", port: 6379, username: "ada" },
  "redis://ada:secret@host": { host: "host", port: 6379, username: "ada", password: "secret" },
  "redis://a%40b:%2F%3A%25%40%C3%BC@host": { host: "host", port: 6379, username: "a@b", password: "/:%@ü" },
  "redis://:se:cret@host": { host: "host", port: 6379, password: "se:cret" },
  "redis://:p@ss@host": { host: "host", port: 6379, password: "p@ss" },
  "rediss://ada:secret@[::1]:7000/3": {
    host: "::1",
    port: 7000,
    username: "ada",
    password: "secret",
    db: 3,
    tls: {}
  },
  "unix:/run/redis.sock": { path: "/run/redis.sock" },
  "unix:///run/redis.sock": { path: "/run/redis.sock" },
  "unix:/run/my%20redis.sock": { path: "/run/my redis.sock" },
  "unix:/run/redis.sock?db=2": { path: "/run/redis.sock", db: 2 },
  "redis+sentinel://host/main": { sentinels: [{ host: "host", port: 26379 }], name: "main" },
  "redis+sentinel://a:1,[::1]:2,c/my%20main/3": {
    sentinels: [{ host: "a", port: 1 }, { host: "::1", port: 2 }, { host: "c", port: 26379 }],
    name: "my main",
    db: 3
  },
  "rediss+sentinel://ada:se%3Acret@a/main?sentinelPassword=other": {
    sentinels: [{ host: "a", port: 26379 }],
    name: "main",
    username: "ada",
    password: "se:cret",
    sentinelPassword: "other",
    tls: {},
    sentinelTLS: {},
    enableTLSForSentinelMode: true
  }
}

const bad: ReadonlyArray<string> = [
  "",
  "host",
  "host:6379",
  "http://host",
  "tcp://host:6379",
  "redis:",
  "redis://",
  "redis:///0",
  "redis://:6379",
  "redis://host:port",
  "redis://a,b",
  "redis+sentinel://host",
  "redis+sentinel://host/",
  "redis+sentinel:///main",
  "redis+sentinel://a,,b/main",
  "redis+sentinel://a:0/main",
  "redis+sentinel://a:65536/main",
  "redis+sentinel://a/main/one",
  "redis+sentinel://:%zz@a/main",
  "redis+sentinel://a/main?password=hunter2",
  "redis://host:65536",
  "redis://host/abc",
  "redis://host/-1",
  "redis://host/1.5",
  "redis://host/1/2",
  "redis://host/%31",
  "redis://host?db=1",
  "redis://host:6379/0?family=6",
  "redis://%zz@host",
  "redis://:%zz@host",
  "redis://:100%@host",
  "redis://:%ff@host",
  "unix:",
  "unix:/",
  "unix:/run/%zz.sock",
  "unix:/run/redis.sock?db=abc"
]

/** All of these are wrong, and each has the same secret in another place. */
const secrets: ReadonlyArray<string> = [
  "http://:hunter2@host",
  "http://ada:hunter2@host",
  "redis://ada:hunter2@",
  "redis://ada:hunter2@:6379",
  "redis://ada:hunter2@host:port",
  "redis://ada:hunter2@host/abc",
  "redis://ada:hunter2@host?db=1",
  "redis://ada:hunter2%zz@host",
  "redis://ada:%zzhunter2@host",
  "redis://ada:/hunter2@host",
  "redis://ada:?hunter2@host",
  "redis://ada:#hunter2@host",
  "redis://ada:hun@hunter2@host/abc",
  "redis://hunter2@host/abc",
  "redis://ada:\nhunter2@host/abc",
  "redis://ada:hunter2",
  "redis://host?password=hunter2",
  "redis://ada:hunter2%ff@host",
  "unix://:hunter2@/run/redis.sock?db=abc",
  "ada:hunter2@host",
  "//ada:hunter2@host"
]

describe("a Redis URL", () => {
  it.each(Object.entries(good))("%s", (url, options) => {
    assert.deepStrictEqual(Result.getOrThrow(parseRedisUrl(url)), options)
  })

  it.each(bad)("is refused: %j", (url) => {
    const message = Result.getOrThrow(Result.flip(parseRedisUrl(url)))
    assert.match(
      message,
      /^effect-redsync: the option nodes is ".*"; it (must be like "redis(:\/\/host:6379"|\+sentinel:\/\/)|has no scheme; write "redis:\/\/)/
    )
  })

  it.each(secrets)("is refused without its secret: %j", (url) => {
    const message = Result.getOrThrow(Result.flip(parseRedisUrl(url)))
    assert.notInclude(message, "hunter2")
  })

  it("ends where another begins, in a list", () => {
    assert.deepStrictEqual(
      splitUrls("redis://a, rediss://b:1/2,redis+sentinel://c:1,d:2/main,,unix:/run/e.sock,"),
      ["redis://a", "rediss://b:1/2", "redis+sentinel://c:1,d:2/main", "unix:/run/e.sock"]
    )
    assert.deepStrictEqual(splitUrls(" , "), [])
  })

  it("of a primary behind Sentinels, and what options stand for, have an id with every port", () => {
    assert.strictEqual(
      nodeAddress({ name: "main", sentinels: [{ host: "a" }, { host: "b", port: 7000 }], db: 2 }),
      "sentinel main at a:26379,b:7000/2"
    )
    assert.deepStrictEqual([{}, { host: "a" }, { port: 7000 }, { path: "/run/a.sock", db: 1 }].map(nodeAddress), [
      "127.0.0.1:6379",
      "a:6379",
      "127.0.0.1:7000",
      "/run/a.sock/1"
    ])
  })

  it("is shown with all but its secret", () => {
    assert.include(
      Result.getOrThrow(Result.flip(parseRedisUrl("redis://ada:hunter2@host:7000/abc"))),
      `the option nodes is "redis://***@host:7000/abc"`
    )
  })
})
