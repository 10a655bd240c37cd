/**
 * The demo as a user runs it: a process of its own, its output read by nobody
 * but a pipe.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { program } from "../../support/commandLine.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

interface Run {
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

/** Runs the demo to its end; `interruptAt` presses Ctrl-C once that was printed. */
const demo = (nodes: string | undefined, interruptAt?: string) =>
  Effect.callback<Run>((resume) => {
    const { REDSYNC_NODES: _, ...env } = process.env
    const child = spawn(process.execPath, [program, "demo"], {
      env: { ...env, ...nodes !== undefined && { REDSYNC_NODES: nodes } },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    let errors = ""
    let interrupted = false
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
      if (interrupted || interruptAt === undefined || !output.includes(interruptAt)) return
      interrupted = true
      child.kill("SIGINT")
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text
    })
    child.on("close", (code) => {
      resume(Effect.succeed({ code, output, errors }))
    })
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** That it ended well, and tells the whole story in plain lines. */
const assertWentWell = ({ code, errors, output }: Run, node: string) => {
  assert.deepStrictEqual({ code, errors }, { code: 0, errors: "" })
  assert.match(output, /What happened in [\d.]+ s/)
  assert.isAbove(Number(/acquisitions +(\d+)/.exec(output)?.[1]), 30, output)
  assert.match(output, /overlaps +0 /)
  assert.match(output, /hand-over +half within \d+ ms, 99 % within \d+ ms/)
  assert.match(output, /refused +[1-9]\d* attempts/)
  assert.match(output, /waits +half within \d+ ms/)
  assert.match(output, /left behind +0 keys/)
  assert.include(output, `${node} is down. The other`)
  assert.include(output, `${node} is back.`)
  assert.isAbove(Number(/node down .*; (\d+) turns? meanwhile/.exec(output)?.[1]), 5, output)
  assert.notInclude(output, "\x1b")
  assert.isAtMost(output.split("\n").length, 60)
}

const password = "a secret"

layer(RedisServers.layer(3, { password }), { excludeTestServices: true, concurrent: true })("npm run demo", (it) => {
  it.effect("on nodes of its own", () => Effect.map(demo(undefined), (run) => assertWentWell(run, "node-2")))

  it.effect("on the servers of REDSYNC_NODES, one of which it only seems to take down", () =>
    Effect.gen(function*() {
      const servers = yield* RedisServers
      const urls = servers.map(({ url }) => url).join()
      const [whole, stopped] = yield* Effect.all([demo(urls), demo(urls, "is down")], { concurrency: "unbounded" })
      assertWentWell(whole, `${servers[1]!.host}:${servers[1]!.port}`)
      assert.include(whole.output, "Its server is not touched")
      assert.deepStrictEqual({ code: stopped.code, errors: stopped.errors }, { code: 130, errors: "" })
      assert.include(stopped.output, "Stopped early. The lock is released.")
      for (const { command } of servers) assert.strictEqual(yield* command("DBSIZE"), 0)
    }))

  it.effect("says in one line why it cannot use the servers, and keeps the password", () =>
    Effect.gen(function*() {
      const [server] = yield* RedisServers
      const wrong: ReadonlyArray<readonly [nodes: string, code: number, reason: string]> = [
        ["redis://:hidden@127.0.0.1:1", 69, "127.0.0.1:1 is not connected"],
        ["http://:hidden@somewhere", 64, "it must be like \"redis://host:6379\""],
        [`redis://:hidden@${server!.host}:${server!.port}`, 69, "WRONGPASS"],
        [`${server!.url},${server!.url}`, 64, "twice"]
      ]
      yield* Effect.forEach(wrong, ([nodes, expected, reason]) =>
        Effect.map(demo(nodes), ({ code, errors, output }) => {
          assert.deepStrictEqual({ code, output }, { code: expected, output: "" })
          assert.match(errors, /^redsync: .+\n$/)
          assert.include(errors, reason)
          assert.notInclude(errors, "hidden")
          assert.notInclude(decodeURIComponent(errors), password)
        }), { concurrency: "unbounded", discard: true })
    }))
})
