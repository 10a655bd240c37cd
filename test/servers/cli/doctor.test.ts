/**
 * `redsync doctor` on servers that are bad on purpose: it names each fault, and
 * invents none on good ones.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { connect, createServer, type Socket } from "node:net"
import { redsync } from "../../support/commandLine.ts"
import { readPage } from "../../support/pages.ts"
import { abilities } from "../../support/servers/abilities.ts"
import { type RedisServer, RedisServers, type RedisServersOptions } from "../../support/servers/RedisServers.ts"

const { knowsSubcommands } = await abilities()

const durable = ["--appendonly", "yes", "--appendfsync", "always"]

/** One server of its own, up as long as the scope is open. */
const server = (options: RedisServersOptions = { args: durable }) =>
  Effect.map(
    Layer.build(RedisServers.layer(1, options)),
    (context): RedisServer => Context.get(context, RedisServers)[0]!
  )

/** A way to a server on which its answers are changed, to the same length. */
const tampered = ({ host, port }: RedisServer, change: (answer: string) => string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const sockets = new Set<Socket>()
      const proxy = createServer((client) => {
        const upstream = connect({ host, port })
        for (const socket of [client, upstream]) sockets.add(socket.on("error", () => {}))
        client.pipe(upstream)
        upstream.on("data", (data) => client.write(change(data.toString("latin1")), "latin1"))
        upstream.on("close", () => client.destroy())
        client.on("close", () => upstream.destroy())
      })
      proxy.listen(0, "127.0.0.1", () => {
        const address = proxy.address() as { readonly port: number }
        resume(Effect.succeed({
          url: `redis://127.0.0.1:${address.port}`,
          close: () => {
            for (const socket of sockets) socket.destroy()
            proxy.close()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

/** Something that listens, and answers each command with what `answer` says, or to a connection without being asked. */
const impostor = (answer: (command: string) => string, greeting?: string) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly url: string; readonly close: () => void }>((resume) => {
      const sockets = new Set<Socket>()
      const server = createServer((socket) => {
        sockets.add(socket.on("error", () => {}))
        if (greeting !== undefined) socket.write(greeting)
        socket.on("data", (data) => {
          // All commands that ioredis sends here are arrays of a few words.
          for (const [, name = ""] of data.toString("latin1").matchAll(/^\*\d+\r\n\$\d+\r\n(\w+)/gm)) {
            socket.write(answer(name.toUpperCase()), "latin1")
          }
        })
      })
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as { readonly port: number }
        resume(Effect.succeed({
          url: `redis://127.0.0.1:${port}`,
          close: () => {
            for (const socket of sockets) socket.destroy()
            server.close()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

interface Report {
  readonly nodes: ReadonlyArray<{ readonly findings: ReadonlyArray<Finding> }>
  readonly findings: ReadonlyArray<Finding>
}

interface Finding {
  readonly level: string
  readonly check: string
  readonly message: string
}

const named = ({ check, level }: Finding) => `${level}: ${check}`

/** What the doctor says of these nodes, by node and all together. */
const doctor = (nodes: ReadonlyArray<string>, ...args: ReadonlyArray<string>) =>
  Effect.map(redsync(["doctor", "--json", ...args], { nodes }), ({ code, errors, output }) => {
    assert.notInclude(output + errors, "hidden")
    const { findings, nodes }: Report = JSON.parse(output)
    return {
      code,
      nodes: nodes.map(({ findings }) => findings.map(named)),
      together: findings.map(named),
      messages: [...findings, ...nodes.flatMap(({ findings }) => findings)].map(({ message }) => message).join("\n")
    }
  })

/** Rights as the guide has them: the first of a page are those of locks, or of shared locks; what else there is comes after. */
const rightsIn = (page: string) =>
  [...readPage(page).matchAll(/^ACL SETUSER locker ([^`]*)```/gm)].flatMap(([, rights = ""]) =>
    rights.replace("on >password", "").trim().split(/\s+/)
  )
const lockRights = rightsIn("src/guide/deploying.md")
const semaphoreRights = rightsIn("src/guide/semaphores.md")

/** A user who may do just that, less some, and the URL to be one. */
const user = (server: RedisServer, name: string, ...less: ReadonlyArray<string>) =>
  userWith(server, name, [...lockRights, ...semaphoreRights].filter((right) => !less.includes(right)))

const userWith = ({ command, host, port }: RedisServer, name: string, rights: ReadonlyArray<string>) =>
  Effect.as(
    command("ACL", "SETUSER", name, "on", ">hidden", ...rights),
    `redis://${name}:hidden@${host}:${port}`
  )

describe("redsync doctor", () => {
  it.live("finds nothing on good servers, and leaves nothing there", () =>
    Effect.gen(function*() {
      const servers = yield* Effect.all([server(), server(), server()], { concurrency: 3 })
      const urls = servers.map(({ url }) => url)
      const { code, messages } = yield* doctor(urls)
      assert.deepStrictEqual({ code, messages }, { code: 0, messages: "" })
      const users = yield* Effect.forEach(servers, (server) => user(server, "locker"))
      const confined = yield* doctor(users, "--name", "locks:doctor")
      assert.deepStrictEqual({ code: confined.code, messages: confined.messages }, { code: 0, messages: "" })
      for (const { command } of servers) assert.deepStrictEqual(yield* command("KEYS", "*"), [])
      const plain = yield* redsync(["doctor"], { nodes: urls })
      assert.match(
        plain.output,
        /^(127\.0\.0\.1:\d+ {2}suitable for locking: .*\n){3}3 nodes, quorum 2: 0 errors, 0 warnings\n$/
      )
    }).pipe(Effect.scoped))

  it.live("tells which kinds of locks a user may not have, which is no fault", () =>
    Effect.gen(function*() {
      const good = yield* server()
      const url = yield* userWith(good, "locker", lockRights)
      const { code, messages, nodes } = yield* doctor([url], "--name", "locks:doctor")
      assert.deepStrictEqual([code, nodes], [0, [["note: shared locks", "note: permits"]]])
      const untried = yield* redsync(["doctor"], { nodes: [url] })
      assert.include(untried.output, "cannot check whether the user may")
      assert.notInclude(untried.output, "suitable for locking")
      assert.match(messages, /^cannot share locks among readers \(run --shared, withSharedLock\): .*NOPERM.*guide/m)
      assert.match(messages, /^grants no permits of semaphores \(run --permits, withPermits\): .*NOPERM.*guide/m)
      // Without the keys of what is extra, the rest is to be had.
      const keys = ["permit-fencing", "permit-line"].flatMap((
        kind
      ) => [`~redsync:1:${kind}:{locks:*`, `~redsync:1:${kind}:=locks:*`])
      const partly = yield* Effect.flatMap(user(good, "partly", ...keys), (url) =>
        doctor([url], "--name", "locks:doctor"))
      assert.deepStrictEqual([partly.code, partly.nodes], [0, [["note: permits", "note: permits"]]])
      assert.include(partly.messages, "issues no fencing tokens with permits")
      assert.include(partly.messages, "does not wake waiters for permits")
      assert.deepStrictEqual(yield* good.command("KEYS", "*"), [])
    }).pipe(Effect.scoped))

  it.live("a server with delayed restarts may forget, once it is up for long enough", () =>
    Effect.gen(function*() {
      const { url } = yield* server({ args: [] })
      const [without, young] = yield* Effect.all([doctor([url]), doctor([url], "--delayed-restart", "1h")])
      assert.deepStrictEqual(without.nodes, [["warning: persistence"]])
      assert.deepStrictEqual(young.nodes, [["warning: uptime"]])
      assert.deepStrictEqual([without.code, young.code], [0, 0])
    }).pipe(Effect.scoped))

  it.live("names each fault", () =>
    Effect.gen(function*() {
      const good = yield* server()
      const full = yield* server({ args: [...durable, "--maxmemory", "1"] })
      const evicting = yield* server({
        args: [...durable, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]
      })
      const replica = yield* server({ args: [...durable, "--replicaof", good.host, String(good.port)] })
      const ofCluster = yield* server({ args: [...durable, "--cluster-enabled", "yes"] })
      const careless = yield* server({ args: ["--appendonly", "yes", "--appendfsync", "everysec"] })
      const frozen = yield* server()
      yield* frozen.stop
      const ahead = yield* tampered(good, (answer) =>
        answer.replace(/^\*2\r\n\$10\r\n(\d{10})/, (_, time) => `*2\r\n$10\r\n${Number(time) + 5}`))
      /** Another address of the same server: no node may be named twice. */
      const byAnotherWay = (url: string) =>
        Effect.map(
          tampered(good, (answer) =>
            answer),
          (way) => {
            const { password, username } = new URL(url)
            return way.url.replace("//", `//${username}:${password}@`)
          }
        )
      const old = yield* tampered(good, (answer) => answer.replace(/redis_version:\d/, "redis_version:5"))
      const faults: ReadonlyArray<readonly [url: string, ...findings: ReadonlyArray<string>]> = [
        ["redis://:hidden@127.0.0.1:1", "error: reachable"],
        [frozen.url, "error: reachable"],
        [yield* byAnotherWay("redis://nobody:hidden@good"), "error: reachable"],
        [full.url, "error: rights"],
        [evicting.url, "error: eviction"],
        [replica.url, "error: role"],
        [ofCluster.url, "error: role"],
        [careless.url, "warning: persistence"],
        [ahead.url, "warning: clock"],
        [old.url, "warning: version"],
        [yield* Effect.flatMap(user(good, "scriptless", "+evalsha"), byAnotherWay), "error: rights"],
        [yield* Effect.flatMap(user(good, "deaf", "+client|tracking"), byAnotherWay), "warning: wake-ups"],
        [yield* Effect.flatMap(user(good, "alone", "+lpos"), byAnotherWay), "warning: rights", "note: permits"],
        [
          yield* Effect.flatMap(user(good, "clockless", "+time"), byAnotherWay),
          "warning: rights",
          "note: shared locks",
          "note: permits"
        ],
        [yield* Effect.flatMap(user(good, "listless", "+lindex"), byAnotherWay), "warning: rights", "note: permits"],
        [yield* Effect.flatMap(user(good, "blind", "+info"), byAnotherWay), "note: info"],
        [good.url]
      ]
      const { code, messages, nodes, together } = yield* doctor(faults.map(([url]) => url), "--name", "locks:doctor")
      assert.deepStrictEqual(nodes, faults.map(([, ...findings]) => findings))
      assert.strictEqual(code, 1)
      // All the ways to the one good server.
      assert.deepStrictEqual(together, ["error: same server"])
      for (
        const words of [
          "ECONNREFUSED",
          "did not answer in time",
          "WRONGPASS",
          "OOM command not allowed",
          "volatile-lru",
          `is a replica of ${good.host}:${good.port}`,
          "is one server of a Redis Cluster",
          "appendfsync is everysec",
          "s ahead of",
          "is version 5.",
          "no permissions to run the 'evalsha' command",
          `no permissions to run the '${knowsSubcommands ? "client|tracking" : "client"}' command`,
          "cannot wake waiters"
        ]
      ) assert.include(messages, words)
    }).pipe(Effect.scoped))

  it.live("tells a command that was renamed from one that locks need", () =>
    Effect.gen(function*() {
      const without = (command: string) => server({ args: [...durable, "--rename-command", command, ""] })
      const servers = yield* Effect.forEach(["ping", "set", "pttl", "lpop"], without, { concurrency: 4 })
      const { messages, nodes } = yield* doctor(servers.map(({ url }) => url))
      assert.deepStrictEqual(nodes, [
        [],
        ["error: rights", "error: rights"],
        ["error: rights"],
        ["warning: wake-ups", "note: permits"]
      ])
      assert.include(messages, "cannot acquire a lock: answered with an error: ERR unknown command")
      assert.include(messages, "cannot extend a lock: answered with an error: ERR unknown command 'set' in a script")
      assert.include(messages, "cannot inspect a lock: answered with an error: ERR unknown command 'pttl' in a script")
      assert.include(messages, "waiters for a lock poll on their schedules alone: this user may not LPOP waiters")
      assert.include(messages, "does not wake waiters for permits, which then poll")
    }).pipe(Effect.scoped))

  it.live("is not deceived by scripts that others have sent", () =>
    Effect.gen(function*() {
      const good = yield* server()
      yield* doctor([good.url])
      const { messages, nodes } = yield* doctor([yield* user(good, "locker", "+eval")], "--name", "locks:doctor")
      assert.deepStrictEqual(nodes, [["error: rights"]])
      assert.include(messages, "no permissions to run the 'eval' command")
    }).pipe(Effect.scoped))

  it.live("names the node that is no Redis server, and judges the others", () =>
    Effect.gen(function*() {
      const good = yield* server()
      const pongAnd = (answer: string) => (command: string) => command === "PING" ? "+PONG\r\n" : answer
      const answers: ReadonlyArray<readonly [answer: (command: string) => string, check: string]> = [
        ...[
          "+OK\r\n",
          ":1\r\n",
          "$-1\r\n",
          "*0\r\n",
          "*1\r\n*1\r\n*0\r\n",
          "%1\r\n+a\r\n+b\r\n",
          "$3\r\nfoo\r\n",
          ":-5\r\n"
        ]
          .map((answer) => [() => answer, "answers"] as const),
        // Yes to everything, by one who knows how to answer a PING.
        ...["+OK\r\n", ":1\r\n"].map((answer) => [pongAnd(answer), "answers rights"] as const),
        [pongAnd("*3\r\n$6\r\nstring\r\n$1\r\nv\r\n:1000\r\n"), "answers rights"],
        [() => "-ABSTAINS 5 1\r\n", "answers reachable"],
        [() => "-ERR \x1b[31mred\r\n", "reachable"],
        [() => "HTTP/1.1 400 Bad Request\r\n\r\n", "reachable"],
        [() => "\0\xff!\r\n", "reachable"]
      ]
      const impostors = yield* Effect.forEach(answers, ([answer]) => impostor(answer))
      const smtp = yield* impostor(() => "", "220 mail ESMTP\r\n")
      const urls = [...impostors.map(({ url }) => url), smtp.url, good.url]
      const { code, messages, nodes } = yield* doctor(urls)
      assert.strictEqual(code, 1)
      for (const [index, findings] of nodes.entries()) {
        const checks = index < answers.length ? answers[index]![1] : index < urls.length - 1 ? "reachable" : ""
        if (checks === "") assert.deepStrictEqual(findings, [])
        else assert.include(checks.split(" ").map((check) => `error: ${check}`), findings[0], urls[index])
      }
      assert.notInclude(messages, "\x1b")
      const plain = yield* redsync(["doctor"], { nodes: urls })
      assert.strictEqual(plain.code, 1)
      assert.strictEqual(plain.errors, "")
      assert.notInclude(plain.output, "\x1b")
      for (const url of urls) assert.include(plain.output, url.replace("redis://", ""))
    }).pipe(Effect.scoped))

  it.live("shows nothing raw of what a server says of itself", () =>
    Effect.gen(function*() {
      const good = yield* server()
      const fields = ["redis_version", "role", "run_id", "maxmemory_policy"]
      const colourful = yield* tampered(good, (answer) =>
        fields.reduce((answer, field) =>
          answer.replace(new RegExp(`${field}:.{4}`), `${field}:\x1b[3m`), answer))
      for (const args of [["doctor"], ["doctor", "--json"]]) {
        const { errors, output } = yield* redsync(args, { nodes: [colourful.url] })
        assert.include(output, "\\u001b[3m")
        assert.notMatch(output + errors, /(?!\n)\p{C}/u)
      }
    }).pipe(Effect.scoped))

  it.live("knows how many replicas locks need", () =>
    Effect.gen(function*() {
      const { url } = yield* server()
      const { code, output } = yield* redsync(["doctor"], { nodes: [url], env: { REDSYNC_REPLICAS: "1" } })
      assert.strictEqual(code, 1)
      assert.include(output, "has 0 of the 1 replicas")
    }).pipe(Effect.scoped))

  it.live("counts nodes, and the servers behind them", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Effect.all([server(), server()], { concurrency: 2 })
      const twice = yield* doctor([a.url, b.url, `redis://localhost:${a.port}/1`])
      assert.deepStrictEqual([twice.code, twice.together], [1, ["error: same server"]])
      const even = yield* doctor([a.url, b.url])
      assert.deepStrictEqual([even.code, even.together], [0, ["warning: count"]])
      const one = yield* doctor([a.url])
      assert.deepStrictEqual([one.code, one.together], [0, ["note: count"]])
    }).pipe(Effect.scoped))
})
