/**
 * The command of `redsync run` and all that it starts end with the lock, whatever
 * becomes of the lock, of `redsync` and of them.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { chmodSync } from "node:fs"
import { send } from "../../../src/cli/run/child.ts"
import { find, processes } from "../../../src/cli/run/processes.ts"
import { program, redsync } from "../../support/commandLine.ts"
import { cuttable } from "../../support/cuttable.ts"
import { until } from "../../support/faults.ts"
import { assertNoneAlive, isAlive, isStopped, place, worker } from "../../support/place.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

/** Commands under which a worker that cares for no signal is a child that signals to the command alone do not reach. */
const hidden = {
  "in a group of its own": ["bash", "-c", "set -m; deaf & wait"],
  "in a session of its own": ["sh", "-c", "setsid deaf & wait"],
  "in a session of its own, the parent gone": ["sh", "-c", "setsid sh -c 'deaf & wait' & exec deaf"],
  "under timeout": ["sh", "-c", "timeout 1000 deaf; true"],
  "without the environment": ["sh", "-c", "env -i DIRECTORY=\"$DIRECTORY\" PATH=\"$PATH\" setsid deaf & wait"]
}

layer(RedisServers.layer(3), { excludeTestServices: true })("redsync run", (it) => {
  const takeAway = (name: string) =>
    Effect.flatMap(
      RedisServers,
      (servers) =>
        Effect.forEach(servers, ({ command }) => command("SET", name, "somebody else", "PX", "60000"), {
          concurrency: 3
        })
    )

  it.effect.each(Object.entries(hidden))(
    "ends what ignores SIGTERM %s when the lock is taken away",
    ([how, command]) =>
      Effect.gen(function*() {
        const at = yield* place
        const running = yield* at.run(["--expiry", "1s", "--grace", "200ms", how, "--", ...command], {
          nodes: yield* nodes
        })
        yield* at.atWork(1)
        yield* takeAway(how)
        assert.strictEqual((yield* running.ended).code, 70)
        assertNoneAlive(at)
      }).pipe(Effect.scoped)
  )

  it.effect("ends what ignores SIGTERM under another run when the lock is taken away", () =>
    Effect.gen(function*() {
      const at = yield* place
      const args = [
        "--expiry",
        "1s",
        "--grace",
        "200ms",
        "outer",
        "--",
        program,
        "run",
        "--grace",
        "1h",
        "inner",
        "--",
        "deaf"
      ]
      const running = yield* at.run(args, { nodes: yield* nodes })
      yield* at.atWork(1)
      yield* takeAway("outer")
      assert.strictEqual((yield* running.ended).code, 70)
      assertNoneAlive(at)
    }).pipe(Effect.scoped))

  const kinds: ReadonlyArray<readonly [kind: string, flags: ReadonlyArray<string>]> = [
    ["a lock", []],
    ["the only permit", ["--permits", "1"]]
  ]

  it.effect.each(kinds)(
    "where nodes are cut off, nothing is left when another can have it: %s",
    ([_, kind]) =>
      Effect.gen(function*() {
        const at = yield* place
        const cut = yield* cuttable(yield* RedisServers)
        const command = "setsid deaf & (set -m; deaf &) ; timeout 1000 deaf"
        const args = [...kind, "--expiry", "3s", "--grace", "500ms", "cut", "--", "bash", "-c", command]
        const running = yield* at.run(args, { nodes: cut.urls, env: { REDSYNC_NODE_TIMEOUT: "150ms" } })
        yield* at.atWork(3)
        const next = yield* at.run([...kind, "cut", "--", "sh", "-c", "echo next >> $DIRECTORY/log"], {
          nodes: yield* nodes
        })
        yield* cut.off
        assert.strictEqual((yield* next.ended).code, 0)
        const { code, errors } = yield* running.ended
        assert.strictEqual(code, 70)
        assert.include(errors, "could not be extended: terminated the command before the lease ended")
        yield* at.gone
        assert.deepStrictEqual(at.log().slice(at.log().indexOf("next")), ["next"])
      }).pipe(Effect.scoped)
  )

  it.effect.each(kinds)(
    "a redsync that is killed takes the command with it, before another can have it: %s",
    ([_, kind]) =>
      Effect.gen(function*() {
        const at = yield* place
        const running = yield* at.run(
          [...kind, "--expiry", "4s", "--grace", "500ms", "killed", "--", "sh", "-c", "setsid deaf & deaf"],
          { nodes: yield* nodes }
        )
        yield* at.atWork(2)
        yield* running.signal("SIGKILL")
        const next = yield* at.run([...kind, "killed", "--", "sh", "-c", "echo next >> $DIRECTORY/log"], {
          nodes: yield* nodes
        })
        assert.strictEqual((yield* next.ended).code, 0)
        yield* at.gone
        assert.strictEqual(at.log().at(-1), "next")
        const { code, errors } = yield* running.ended
        assert.strictEqual(code, "SIGKILL")
        assert.isTrue(errors.endsWith("redsync: terminating the command, since redsync itself has died\n"), errors)
      }).pipe(Effect.scoped)
  )

  it.effect.each(["SIGABRT", "SIGALRM", "SIGSEGV", "SIGVTALRM", "SIGXCPU"] as const)(
    "a redsync that ends by %s takes the command with it",
    (signal) =>
      Effect.gen(function*() {
        const at = yield* place
        const running = yield* at.run(["--grace", "100ms", signal, "--", "deaf"], { nodes: yield* nodes })
        yield* at.atWork(1)
        yield* running.signal(signal)
        yield* at.gone
        assert.strictEqual((yield* running.ended).code, signal)
      }).pipe(Effect.scoped)
  )

  it.effect("also where nobody is left to hear of it", () =>
    Effect.gen(function*() {
      const at = yield* place
      // Whoever reads what redsync says has left.
      const unheard = ["sh", "-c", "\"$@\" 2>&1 > /dev/null | true", "sh"]
      yield* at.run(["--grace", "200ms", "unheard", "--", "deaf"], { nodes: yield* nodes, under: unheard })
      yield* at.atWork(1)
      process.kill(find(at.pids()[0]!)!.parent, "SIGKILL")
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("a command whose redsync has died has the grace to end", () =>
    Effect.gen(function*() {
      const at = yield* place
      const script = `trap 'echo cleaned up; exit' TERM; ${worker}`
      const running = yield* at.run(["polite", "--", "sh", "-c", script], { nodes: yield* nodes })
      yield* at.atWork(1)
      yield* running.signal("SIGKILL")
      assert.strictEqual((yield* running.ended).output, "cleaned up\n")
    }).pipe(Effect.scoped))

  it.effect("a redsync that stands still is no reason for the command to outlive the lease", () =>
    Effect.gen(function*() {
      const at = yield* place
      const running = yield* at.run(["--expiry", "4s", "--grace", "300ms", "still", "--", "deaf"], {
        nodes: yield* nodes
      })
      yield* at.atWork(1)
      yield* running.signal("SIGSTOP")
      const next = yield* at.run(["still", "--", "sh", "-c", "echo next >> $DIRECTORY/log"], { nodes: yield* nodes })
      assert.strictEqual((yield* next.ended).code, 0)
      yield* running.signal("SIGCONT")
      const { code } = yield* running.ended
      assert.strictEqual(code, 70)
      yield* at.gone
      assert.strictEqual(at.log().at(-1), "next")
    }).pipe(Effect.scoped))

  it.effect("leaves no process of its own behind", () =>
    Effect.gen(function*() {
      const at = yield* place
      const runs = Effect.map(
        at.run(["--expiry", "1h", "brief", "--", "true"], { nodes: yield* nodes }),
        ({ ended, pid }) => ({ ended, pid })
      )
      for (let count = 0; count < 3; count++) {
        const { ended } = yield* runs
        assert.strictEqual((yield* ended).code, 0)
      }
      const left = () =>
        processes().filter(({ name, hasInEnvironment }) => name === "sleep" && hasInEnvironment(at.env["DIRECTORY"]!))
      yield* until("the watchdogs have ended with all of theirs", Effect.sync(() => left().length === 0))
    }).pipe(Effect.scoped))

  it.effect("stops and goes on with the command when it is told to", () =>
    Effect.gen(function*() {
      const at = yield* place
      // Where nobody would continue it, a process is not stopped.
      const jobControl = ["bash", "-c", "set -m; \"$@\" & echo $! up; exec sleep 1000", "bash"]
      const running = yield* at.run(["stopped", "--", "worker"], { nodes: yield* nodes, under: jobControl })
      yield* at.atWork(1)
      const job = Number.parseInt(yield* running.printed("up"), 10)
      const all = [job, ...at.pids()]
      process.kill(job, "SIGTSTP")
      yield* until("both are stopped", Effect.sync(() => all.every(isStopped)))
      process.kill(job, "SIGCONT")
      yield* until("both go on", Effect.sync(() => !all.some(isStopped)))
      process.kill(job, "SIGTERM")
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("keeps the lock until nothing is left that the command has started", () =>
    Effect.gen(function*() {
      const at = yield* place
      const running = yield* at.run(["left", "--", "sh", "-c", "setsid worker & exit 3"], { nodes: yield* nodes })
      yield* at.atWork(1)
      yield* running.said("the command has ended, but processes that it left running keep the lock: ")
      const once = ["run", "--wait", "0", "left", "--", "true"]
      assert.strictEqual((yield* redsync(once, { nodes: yield* nodes })).code, 75)
      yield* running.signal("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 3)
      assertNoneAlive(at)
      const leaving = yield* at.run(["--leave", "left", "--", "sh", "-c", "worker > /dev/null 2>&1 & exit 3"], {
        nodes: yield* nodes
      })
      assert.strictEqual((yield* leaving.ended).code, 3)
      assert.strictEqual((yield* redsync(once, { nodes: yield* nodes })).code, 0)
      yield* at.atWork(2)
    }).pipe(Effect.scoped))

  it.effect("says at once that the command has become another user, and does not wait for it when the lock is lost", () =>
    Effect.gen(function*() {
      if (process.getuid!() !== 0) {
        // Only root can run a command as somebody else. This one is.
        const [init] = [find(1)!]
        assert.deepStrictEqual(send("SIGTERM", [init]), [init])
        return
      }
      const at = yield* place
      chmodSync(at.env["DIRECTORY"]!, 0o777)
      const name = "another user"
      // It does not keep our output open when it is left behind.
      const command = ["setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", "exec worker > /dev/null 2>&1"]
      const mayNotKill = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill"]
      const running = yield* at.run(["--expiry", "1s", name, "--", ...command], {
        nodes: yield* nodes,
        under: mayNotKill
      })
      yield* at.atWork(1)
      yield* running.signal("SIGTERM")
      yield* running.said("not permitted to send SIGTERM to ")
      yield* takeAway(name)
      const { code, errors } = yield* running.ended
      assert.strictEqual(code, 77)
      assert.match(errors, /not permitted to terminate .*worker \(\d+\).*, which continues without the lock/)
    }).pipe(Effect.scoped))

  it.effect("as the first process of a container, it does not wait for those that have ended and nobody takes notice of", () =>
    Effect.gen(function*() {
      const at = yield* place
      const container = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
      const isPermitted = spawnSync(container[0]!, [...container.slice(1), "true"]).status === 0
      const options = { nodes: yield* nodes, ...isPermitted && { under: container } }
      const orphan =
        "(setsid sh -c 'echo $$ >> $DIRECTORY/pids' &); until [ -e $DIRECTORY/pids ]; do sleep 0.02; done; exit 3"
      const { code, output } = yield* (yield* at.run(["first", "--", "sh", "-c", `echo $PPID; ${orphan}`], options))
        .ended
      assert.strictEqual(code, 3)
      if (isPermitted) assert.strictEqual(output, "1\n")

      const running = yield* at.run([
        "first",
        "--",
        "sh",
        "-c",
        "trap 'echo asked to end; exit 5' TERM; echo up; while :; do sleep 0.02; done"
      ], options)
      yield* running.printed("up")
      const first = isPermitted ? processes().find(({ parent }) => parent === running.pid)!.pid : running.pid
      process.kill(first, "SIGTERM")
      assert.include(yield* running.ended, { code: 5, output: "up\nasked to end\n" })
    }).pipe(Effect.scoped))

  it.effect("where the programs that end it are not in the path of the command, it ends with redsync all the same", () =>
    Effect.gen(function*() {
      const at = yield* place
      const { PATH = "" } = at.env
      const running = yield* at.run(
        ["--grace", "100ms", "no path", "--", "/bin/sh", "-c", `PATH=${PATH}; exec deaf`],
        {
          nodes: yield* nodes,
          under: ["sh", "-c", "node=$(command -v node); PATH=/nonexistent exec $node \"$@\"", "sh"]
        }
      )
      yield* at.atWork(1)
      yield* running.signal("SIGKILL")
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("in a namespace that sees the processes of another, the command ends with the lock and with redsync", () =>
    Effect.gen(function*() {
      const namespace = ["unshare", "--pid", "--fork", "--kill-child"]
      if (spawnSync(namespace[0]!, [...namespace.slice(1), "true"]).status !== 0) return
      const at = yield* place
      const options = { nodes: yield* nodes, under: [...namespace, "sh", "-c", "\"$@\" & wait $!", "sh"] }
      const ended = yield* (yield* at.run(["seen", "--", "sh", "-c", "exit 3"], options)).ended
      assert.deepStrictEqual(
        { code: ended.code, errors: ended.errors },
        {
          code: 3,
          errors:
            "redsync: no processes are visible here: if the lock is lost, only the command itself is terminated, not the processes it starts\n"
        }
      )

      /** They count by other numbers than they know. */
      const workers = () =>
        processes().filter(({ hasInEnvironment, name }) =>
          name === "deaf" && hasInEnvironment(`DIRECTORY=${at.env["DIRECTORY"]}`)
        )
      const lost = yield* at.run(["--expiry", "1s", "--grace", "100ms", "taken", "--", "deaf"], options)
      yield* at.atWork(1)
      assert.isNotEmpty(workers())
      yield* takeAway("taken")
      assert.strictEqual((yield* lost.ended).code, 70)
      assert.deepStrictEqual(workers(), [])

      const killed = yield* at.run(["--grace", "100ms", "dead", "--", "deaf"], options)
      yield* at.atWork(2)
      const command = workers().find(({ parent }) => find(parent)?.name !== "deaf")!
      process.kill(command.parent, "SIGKILL")
      yield* until("the command is gone", Effect.sync(() => workers().length === 0))
      yield* killed.ended
    }).pipe(Effect.scoped))

  it.effect("a watchdog that is killed has a successor, and does nothing any more", () =>
    Effect.gen(function*() {
      const at = yield* place
      const running = yield* at.run(["--expiry", "1s", "--grace", "200ms", "watched", "--", "deaf"], {
        nodes: yield* nodes
      })
      yield* at.atWork(1)
      const watchdogs = () =>
        processes().filter(({ parent, pid, session }) =>
          parent === running.pid && session === pid && !at.pids().includes(pid)
        )
      const [first] = watchdogs()
      process.kill(first!.pid, "SIGKILL")
      yield* until("there is another", Effect.sync(() => watchdogs().some(({ pid }) => pid !== first!.pid)))
      // What it would have done when the lease ended that it knew of.
      yield* until(
        "nothing is left of it",
        Effect.sync(() => !processes().some(({ session }) => session === first!.pid))
      )
      assert.deepStrictEqual(at.pids().filter(isAlive), at.pids())
      yield* running.signal("SIGKILL")
      yield* at.gone
    }).pipe(Effect.scoped))
})
