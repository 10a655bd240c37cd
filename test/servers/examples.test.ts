/**
 * The programs among the examples, in processes of their own as they are started by
 * whoever copies them.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { PGlite } from "@electric-sql/pglite"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Scope } from "effect"
import { constFalse, constTrue } from "effect/Function"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { forceUnlock, Redsync, withLock } from "../../src/index.ts"
import { companionKey } from "../../src/internal/redis/keys.ts"
import { Database, instance, Sender, tables } from "../examples/fleet.ts"
import { onEach, until, urls, valuesOf } from "../support/faults.ts"
import { reservePort } from "../support/servers/Instance.ts"
import { RedisServers, startServer } from "../support/servers/RedisServers.ts"
import { child, onThree, type Three } from "../support/trouble.ts"

const start = (name: string, environment: Record<string, string>) =>
  child(new URL(`../examples/${name}`, import.meta.url), {}, environment)

// -----------------------------------------------------------------------------
// the HTTP service
// -----------------------------------------------------------------------------

/** A payment provider that answers when it is told to, and charges as often as it is asked. */
const provider = Effect.gen(function*() {
  const charges: Array<{ readonly invoice: number; readonly reference: string }> = []
  let waiting: Array<() => void> = []
  let isSlow = false
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === "GET") {
      const found = charges.find(({ invoice }) => request.url === `/charges/${invoice}`)
      response.writeHead(found === undefined ? 404 : 200, { "content-type": "application/json" })
      response.end(JSON.stringify(found ?? {}))
      return
    }
    let body = ""
    for await (const chunk of request) body += String(chunk)
    const charge = { invoice: JSON.parse(body).invoice, reference: `charge ${charges.length + 1}` }
    charges.push(charge)
    if (isSlow) await new Promise<void>((resolve) => waiting.push(resolve))
    response.writeHead(200, { "content-type": "application/json" })
    response.end(JSON.stringify(charge))
  }
  const server = yield* Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<ReturnType<typeof createServer>>((resolve) => {
        const server = createServer((request, response) => void answer(request, response))
        server.listen(0, "127.0.0.1", () => resolve(server))
      })
    ),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    charges,
    /** From now on it has charged before it answers, which it does when it is told to. */
    slow: Effect.sync(() => {
      isSlow = true
    }),
    goOn: Effect.sync(() => {
      isSlow = false
      for (const resolve of waiting.splice(0)) resolve()
    })
  }
})

const request = (url: string, method = "GET") =>
  Effect.promise(async () => {
    const response = await fetch(url, { method })
    return { status: response.status, text: await response.text() }
  })

/** Instances of the service that are ready. */
const instances = Effect.fnUntraced(function*(servers: Three, count: number, paymentsUrl: string) {
  return yield* Effect.forEach(
    Array.from({ length: count }),
    Effect.fnUntraced(function*() {
      const { port } = yield* Effect.acquireRelease(Effect.promise(reservePort), ({ release }) => Effect.sync(release))
      const process = yield* start("http.ts", {
        PORT: String(port),
        PAYMENTS_URL: paymentsUrl,
        REDSYNC_NODES: urls(servers).join(","),
        REDSYNC_NODE_TIMEOUT: "1 second"
      })
      const url = `http://127.0.0.1:${port}`
      const isReady = Effect.promise(() => fetch(`${url}/ready`).then(({ status }) => status === 204, () => false))
      yield* until("it is ready", isReady)
      return {
        process,
        isReady,
        /** Asks again where it is busy, as its clients do, for as long as `isPatient`. */
        charge: (invoice: number, isPatient: () => boolean = constTrue) =>
          Effect.repeat(request(`${url}/invoices/${invoice}/charge`, "POST"), {
            while: ({ status }) => status === 409 && isPatient()
          }),
        metrics: Effect.map(request(`${url}/metrics`), ({ text }) => text)
      }
    }),
    { concurrency: "unbounded" }
  )
})

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("the HTTP service", (it) => {
  it.effect("charges once, says whether it is ready, counts, and loses no request at its end", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const { charges, goOn, slow, url } = yield* provider
      const [one, other] = yield* instances(servers, 2, url)

      const answers = yield* Effect.forEach(
        [one!, other!, one!, other!, one!, other!],
        ({ charge }) => charge(42),
        { concurrency: "unbounded" }
      )
      for (const answer of answers) {
        assert.deepStrictEqual(answer, { status: 200, text: `{"invoice":42,"reference":"charge 1"}` })
      }
      assert.lengthOf(charges, 1)

      yield* onEach(servers, (server) => server.command("SET", "invoices:7", "another", "PX", "60000"))
      assert.strictEqual((yield* one!.charge(7, constFalse)).status, 409)
      yield* onEach(servers, (server) => server.command("DEL", "invoices:7"))

      yield* onEach(servers.slice(1), (server) => server.stop)
      yield* until("it is not ready", Effect.map(one!.isReady, (isReady) => !isReady))
      assert.strictEqual((yield* one!.charge(7)).status, 503)
      yield* onEach(servers.slice(1), (server) => server.resume)
      yield* until("it is ready again", one!.isReady)

      const metrics = yield* one!.metrics
      assert.match(metrics, /^redsync_acquisitions_total\{.*outcome="granted".*\} \d+$/m)
      yield* until(
        "the third server answers again too",
        Effect.map(one!.metrics, (metrics) => /^redsync_quorum_margin 1$/m.test(metrics))
      )

      // A request that works, and one that waits for its lock.
      yield* slow
      const working = yield* Effect.forkScoped(one!.charge(43))
      yield* until("it is charged", Effect.sync(() => charges.some(({ invoice }) => invoice === 43)))
      let hasWaited = false
      const waiting = yield* Effect.forkScoped(one!.charge(43, () => !hasWaited))
      yield* until("it waits", Effect.map(one!.metrics, (text) => text.includes(`redsync_waiters{mode="exclusive"} 1`)))
      hasWaited = true
      yield* one!.process.signal("SIGTERM")
      yield* until("it takes no new requests", Effect.map(one!.isReady, (isReady) => !isReady))
      assert.isNotNull((yield* valuesOf("invoices:43", servers))[0])
      yield* goOn
      const charged = { status: 200, text: `{"invoice":43,"reference":"charge 2"}` }
      assert.deepStrictEqual(yield* Fiber.join(working), charged)
      const answer = yield* Fiber.join(waiting)
      // It waits for two seconds at most.
      if (answer.status !== 409) assert.deepStrictEqual(answer, charged)
      yield* one!.process.exited
      assert.deepStrictEqual(yield* valuesOf("invoices:43", servers), [null, null, null])
      assert.strictEqual((yield* other!.charge(43)).status, 200)
      assert.lengthOf(charges, 2)
      yield* other!.process.signal("SIGTERM")
      yield* other!.process.exited
    })))
})

// -----------------------------------------------------------------------------
// the fleet
// -----------------------------------------------------------------------------

interface Row {
  readonly id: number
  readonly message: string
  readonly sent_in_term: number | null
}

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("the fleet", (it) => {
  it.effect("sends each message by its leader, whose writes are refused when another leads", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const database = yield* Effect.acquireRelease(
        Effect.promise(() => PGlite.create()),
        (database) => Effect.promise(() => database.close())
      )
      yield* Effect.promise(() => database.exec(tables))
      const post = (message: string) =>
        Effect.promise(() => database.query("INSERT INTO outbox (message) VALUES ($1)", [message]))
      const rows = Effect.promise(async () => (await database.query<Row>("SELECT * FROM outbox ORDER BY id")).rows)
      const untilSent = until("all are sent", Effect.map(rows, (all) => all.every((row) => row.sent_in_term !== null)))

      const sent: Array<string> = []
      /** What an instance writes is on its way for as long as its network is slow. */
      const slow = new Map<string, Deferred.Deferred<void>>()
      const late: Array<ReadonlyArray<unknown>> = []
      const redsync = Redsync.layer({ nodes: urls(servers), nodeTimeout: "1 second" })
      const member = Effect.fnUntraced(function*(id: string) {
        const scope = yield* Scope.fork(yield* Effect.scope)
        const query = async (sql: string, parameters: Array<unknown>) => {
          const delay = sql.includes("UPDATE outbox") ? slow.get(id) : undefined
          if (delay !== undefined) await Effect.runPromise(Deferred.await(delay))
          const answer = await database.query(sql, parameters)
          if (delay !== undefined) late.push(answer.rows)
          return answer
        }
        const send = (message: string) => Effect.sync(() => void sent.push(`${id} sent ${message}`))
        yield* Layer.buildWithScope(
          Layer.provide(instance, [
            Layer.succeed(Database, { query }),
            Layer.succeed(Sender, { send }),
            Layer.fresh(redsync),
            Logger.layer([])
          ]),
          scope
        )
        return { close: Scope.close(scope, Exit.void) }
      })

      const a = yield* member("a")
      yield* post("one")
      yield* untilSent
      yield* member("b")
      const arrives = yield* Deferred.make<void>()
      slow.set("a", arrives)
      yield* post("two")
      yield* until("a has sent it", Effect.sync(() => sent.includes("a sent two")))
      // Its write is on its way, and an operator takes its lock away.
      yield* Effect.provide(forceUnlock("outbox"), redsync)
      yield* untilSent
      yield* Deferred.succeed(arrives, undefined)
      yield* until("the late write arrives", Effect.sync(() => late.length > 0))
      assert.deepStrictEqual(late[0], [])
      yield* a.close
      yield* post("three")
      yield* untilSent

      assert.deepStrictEqual(sent, ["a sent one", "a sent two", "b sent two", "b sent three"])
      const [one, two, three] = (yield* rows).map((row) => row.sent_in_term!)
      assert.isAbove(two!, one!)
      assert.isAtLeast(three!, two!)
      yield* onEach(servers, (server) => server.command("DEL", companionKey("fencing", "outbox")))
    }, Effect.scoped)))
})

// -----------------------------------------------------------------------------
// the script for cron
// -----------------------------------------------------------------------------

layer(RedisServers.layer(3), { excludeTestServices: true, timeout: "60 seconds" })("the script for cron", (it) => {
  it.effect("makes the report once on all machines, and again if it has failed", () =>
    onThree(Effect.fnUntraced(function*(servers) {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-redsync-test-"))),
        (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
      )
      const day = "2026-11-26"
      /** Its exit code, and what it says. */
      const run = (reports: string) =>
        Effect.gen(function*() {
          const process = yield* start("nightly.ts", {
            REDSYNC_NODES: urls(servers).join(","),
            REPORTS: reports,
            DAY: day
          })
          const code = yield* process.exited
          const said = process.lines.filter((line) => /^(made|another machine) /.test(line))
          return [code, ...said.map((line) => line.split(" ")[0])]
        })

      assert.deepStrictEqual(yield* run(join(directory, "nowhere")), [1])
      assert.deepStrictEqual(yield* valuesOf(`report:${day}`, servers), [null, null, null])

      const machines = yield* onEach([1, 2, 3], () => run(directory).pipe(Effect.scoped))
      assert.sameDeepMembers(machines, [[0, "another"], [0, "another"], [0, "made"]])
      assert.deepStrictEqual(yield* run(directory), [0, "another"])
      assert.deepStrictEqual(readdirSync(directory), [`${day}.txt`])
      yield* onEach(servers, (server) => server.command("DEL", `report:${day}`))
    })))
})

// -----------------------------------------------------------------------------
// the Compose file
// -----------------------------------------------------------------------------

describe("servers as the Compose file starts them", () => {
  it.live("grant locks, and still have them when they were killed and started again", () =>
    Effect.gen(function*() {
      const compose = readFileSync(new URL("../examples/compose.yaml", import.meta.url), "utf8")
      const [, options = ""] = /^ {2}command: redis-server (.+)$/m.exec(compose)!
      const args = options.split(" ").map((option) => option === `""` ? "" : option)
      const servers = yield* Effect.all([startServer({ args }), startServer({ args }), startServer({ args })])
      const locks = Redsync.layer({ nodes: urls(servers) })
      yield* withLock("a", ({ value }) =>
        Effect.gen(function*() {
          yield* until(
            "all have it",
            Effect.map(valuesOf("a", servers), (values) => values.every((one) => one === value))
          )
          for (const server of servers) yield* server.restart
          assert.deepStrictEqual(yield* valuesOf("a", servers), [value, value, value])
        })).pipe(Effect.provide(locks))
      for (const server of servers) {
        assert.deepStrictEqual(yield* server.command("CONFIG", "GET", "maxmemory-policy"), [
          "maxmemory-policy",
          "noeviction"
        ])
      }
    }).pipe(Effect.scoped))
})
