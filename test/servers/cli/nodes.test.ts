/**
 * Nodes that a URL alone cannot tell: over TLS with files for it, and behind
 * Sentinels.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { redsync, start } from "../../support/commandLine.ts"
import { abilities } from "../../support/servers/abilities.ts"
import { certificates } from "../../support/servers/certificates.ts"
import { sentinelName, watched } from "../../support/servers/failover.ts"
import { reservePort } from "../../support/servers/Instance.ts"
import { startServer } from "../../support/servers/RedisServers.ts"

const { tls } = await abilities()

/** A server that wants the certificate of its clients, by its TLS port. */
const tlsServer = Effect.gen(function*() {
  const pem = yield* certificates
  const { port } = yield* Effect.acquireRelease(
    Effect.promise(reservePort),
    ({ release }) => Effect.sync(release)
  )
  const args = ["--tls-port", `${port}`, "--tls-ca-cert-file", pem.ca, "--tls-cert-file", pem.server.cert]
  yield* startServer({ args: [...args, "--tls-key-file", pem.server.key, "--tls-auth-clients", "yes"] })
  return { pem, url: `rediss://localhost:${port}` }
})

const overTls = () => {
  it.live("takes certificates and key from files, by flags or by variables", () =>
    Effect.gen(function*() {
      const { pem, url } = yield* tlsServer
      const flags = ["--cacert", pem.ca, "--cert", pem.client.cert, "--key", pem.client.key]
      const env = { REDSYNC_CACERT: pem.ca, REDSYNC_CERT: pem.client.cert, REDSYNC_KEY: pem.client.key }
      const nodes = [url]
      const [byFlags, byVariables, byDoctor] = [
        yield* redsync(["run", ...flags, "x", "--", "echo", "ran"], { nodes }),
        yield* redsync(["run", "x", "--", "echo", "ran"], { nodes, env }),
        yield* redsync(["doctor", ...flags], { nodes })
      ]
      for (const ended of [byFlags, byVariables]) {
        assert.deepStrictEqual(ended, { code: 0, output: "ran\n", errors: "" })
      }
      assert.strictEqual(byDoctor.code, 0, byDoctor.output)
      const untrusting = yield* redsync(["status", "x"], { nodes })
      assert.strictEqual(untrusting.code, 69)
      assert.match(untrusting.output, /certificate/)
    }).pipe(Effect.scoped))
}

describe("nodes of the command line", () => {
  // Some servers are built without.
  if (tls) overTls()

  it.live("says in a line what is wrong with the files", () =>
    Effect.gen(function*() {
      const pem = yield* certificates
      const nonsense = join(dirname(pem.ca), "nonsense.pem")
      writeFileSync(nonsense, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
      const wrong: ReadonlyArray<readonly [url: string, args: ReadonlyArray<string>, reason: string]> = [
        ["rediss://localhost", ["--cacert", "/nowhere"], "cannot read the file \"/nowhere\": ENOENT"],
        ["rediss://localhost", ["--cert", pem.client.cert], "--cert and --key must be given together"],
        [
          "rediss://localhost",
          ["--cert", pem.client.cert, "--key", pem.server.key],
          "cannot use the certificates or the key"
        ],
        ["rediss://localhost", ["--cacert", nonsense], "cannot use the certificates or the key"],
        ["redis://localhost", ["--cacert", pem.ca], "are for rediss:// nodes, but no node has such a URL"],
        ["redis+sentinel://localhost", [], "it must be like \"redis+sentinel://"]
      ]
      yield* Effect.forEach(wrong, ([url, args, reason]) =>
        Effect.map(redsync(["status", ...args, "x"], { nodes: [url] }), ({ code, errors, output }) => {
          assert.deepStrictEqual({ code, output }, { code: 64, output: "" }, reason)
          assert.include(errors, reason)
          assert.match(errors, /^redsync: .+\n$/)
        }), { concurrency: 2, discard: true })
    }).pipe(Effect.scoped))

  it.live("finds the primary by its Sentinels, and the next one after a failover", () =>
    Effect.gen(function*() {
      const { failover, sentinels: [{ host, port } = { host: "", port: 0 }] } = yield* watched
      // Nobody is at the other address.
      const nodes = [`redis+sentinel://127.0.0.1:1,${host}:${port}/${sentinelName}`]
      const node = `sentinel ${sentinelName} at 127.0.0.1:1,${host}:${port}`
      const run = redsync(["run", "x", "--", "echo", "ran"], { nodes, env: { REDSYNC_REPLICAS: "1" } })
      assert.deepStrictEqual(yield* run, { code: 0, output: "ran\n", errors: "" })
      const status = yield* redsync(["status", "x"], { nodes })
      assert.deepStrictEqual(status, { code: 0, output: `x  free\n  ${node}  free\n`, errors: "" })
      const report = yield* redsync(["doctor", "--json"], { nodes })
      const { nodes: [patient] } = JSON.parse(report.output)
      assert.strictEqual(patient.node, node)
      assert.include(patient.findings.map(({ check }: { readonly check: string }) => check), "failover")
      yield* failover
      assert.deepStrictEqual(yield* run, { code: 0, output: "ran\n", errors: "" })
    }).pipe(Effect.scoped))

  it.live("keeps the password of a Sentinel's URL", () =>
    Effect.gen(function*() {
      const nodes = ["redis+sentinel://ada:hunter2@127.0.0.1:1/main?sentinelPassword=hunter2"]
      for (const args of [["status", "x"], ["doctor"], ["run", "--wait", "0", "x", "--", "true"]]) {
        const { code, errors, output } = yield* redsync(args, { nodes })
        assert.include([1, 69], code)
        assert.notInclude(errors + output, "hunter2")
        assert.include(errors + output, "127.0.0.1:1")
      }
    }))

  it.live("takes the expiry from the environment where no flag says otherwise", () =>
    Effect.gen(function*() {
      const { command, url } = yield* startServer()
      const expiryMillis = (...args: ReadonlyArray<string>) =>
        Effect.scoped(Effect.gen(function*() {
          const running = yield* start(["run", ...args, "x", "--", "sh", "-c", "echo up; exec sleep 600"], {
            nodes: [url],
            env: { REDSYNC_EXPIRY: "1 hour" }
          })
          yield* running.printed("up")
          const left = yield* command<number>("PTTL", "x")
          yield* running.signal("SIGTERM")
          yield* running.ended
          return left
        }))
      assert.isAbove(yield* expiryMillis(), 60_000)
      assert.isAtMost(yield* expiryMillis("--expiry", "60s"), 60_000)
    }).pipe(Effect.scoped))
})
