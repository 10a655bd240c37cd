/**
 * What the command of `redsync run` is given and what becomes of it, side by side
 * with `flock`, which the manual compares it with.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { path, patient, program, redsync, start } from "../../support/commandLine.ts"
import { until } from "../../support/faults.ts"
import { readPage } from "../../support/pages.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

interface Outcome {
  readonly code: number | NodeJS.Signals
  readonly output: string
  readonly errors: string
}

/** A script for a shell, in which `$LOCKED` is followed by a command. */
const shell = (script: string, env: NodeJS.ProcessEnv) =>
  Effect.callback<Outcome>((resume) => {
    const child = spawn("sh", ["-c", script], { env, stdio: ["ignore", "pipe", "pipe"], detached: true })
    const texts = { output: "", errors: "" }
    child.stdout.setEncoding("utf8").on("data", (text: string) => texts.output += text)
    child.stderr.setEncoding("utf8").on("data", (text: string) => texts.errors += text)
    child.once("close", (code, signal) => resume(Effect.succeed({ code: code ?? signal!, ...texts })))
  })

/** A directory with what is hard to run in it. */
const directory = Effect.acquireRelease(
  Effect.sync(() => {
    const at = mkdtempSync(join(tmpdir(), "redsync-start-"))
    writeFileSync(join(at, "forbidden"), "#!/bin/sh\n", { mode: 0o644 })
    writeFileSync(join(at, "without-interpreter"), "#!/no/such/interpreter\n", { mode: 0o755 })
    writeFileSync(join(at, "no-program"), "\x7fELF", { mode: 0o755 })
    writeFileSync(join(at, "script"), "echo \"a script without its first line\"\n", { mode: 0o755 })
    symlinkSync("loop", join(at, "loop"))
    return at
  }),
  (at) => Effect.sync(() => rmSync(at, { recursive: true }))
)

/** Runs the script under both, each with a lock of its own: waiting for it with `$LOCKED`, and not with `$TRY`. */
const underBoth = (script: string) =>
  Effect.gen(function*() {
    const env = { ...process.env, ...patient, PATH: path, REDSYNC_NODES: (yield* nodes).join(","), R: program }
    const run = (locked: string, busy: string) =>
      Effect.flatMap(directory, (at) =>
        shell(`LOCKED="${locked}"; TRY="${busy}"; ${script}`, { ...env, AT: at, LOCK: at }))
    return yield* Effect.all({
      flock: run("flock $LOCK", "flock --nonblock $LOCK"),
      redsync: run("$R run --expiry 2s $LOCK --", "$R run --wait 0 $LOCK --")
    }, { concurrency: 2 })
  }).pipe(Effect.scoped)

/** What both do alike, each with what a shell would print and answer. */
const alike: Record<string, readonly [script: string, output: string, code?: number]> = {
  "the exit code is the command's": ["$LOCKED sh -c 'exit 3'; echo $?", "3\n"],
  "input and output are the command's": ["echo in | $LOCKED sh -c 'cat; echo err >&2' 2>&1", "in\nerr\n"],
  "descriptor 3 is inherited": ["exec 3>&1; $LOCKED sh -c 'echo three >&3' > /dev/null", "three\n"],
  "descriptors with gaps between them are inherited": [
    "exec 9>&1 7</dev/null; $LOCKED sh -c 'echo nine >&9' > /dev/null",
    "nine\n"
  ],
  "writing to output that is closed fails": [
    "$LOCKED sh -c 'echo lost 2> /dev/null || exit 3' >&-; echo $?",
    "3\n"
  ],
  "the soft limit on open files is inherited": [
    "ulimit -S -n 123; $LOCKED sh -c 'ulimit -S -n; ulimit -H -n' > $AT/limits; sed -n 1p $AT/limits",
    "123\n"
  ],
  "variables whose names no shell allows are inherited": [
    "env 'a.b=c d' 'e-f=g\nh' $LOCKED env | grep -A 1 -e '^a.b=' -e '^e-f='",
    "a.b=c d\ne-f=g\nh\n"
  ],
  "a SIGHUP that is ignored stays ignored": [
    "(trap '' HUP; $LOCKED sh -c 'kill -s HUP $$ $PPID; echo alive')",
    "alive\n"
  ],
  "SIGINT and SIGQUIT, if ignored, stay ignored": [
    "(trap '' INT QUIT; $LOCKED sh -c 'kill -s INT $$ $PPID; kill -s QUIT $$ $PPID; echo alive')",
    "alive\n"
  ],
  "in the background of a script, the command ignores SIGINT": [
    "$LOCKED sh -c 'kill -s INT $$; echo alive' & wait",
    "alive\n"
  ],
  "a SIGTERM that is ignored stays ignored": [
    "(trap '' TERM; $LOCKED sh -c 'kill -s TERM $$ $PPID; echo alive')",
    "alive\n"
  ],
  "signals that are not ignored take effect": ["$LOCKED sh -c 'kill -s HUP $$'; echo $?", "129\n"],
  "a script without a #! line is run by a shell": ["$LOCKED $AT/script", "a script without its first line\n"],
  "arguments are passed as they are": [
    "$LOCKED printf '<%s>' '' 'a b' '*' \"'\" '$HOME' -- -n",
    "<><a b><*><'><$HOME><--><-n>"
  ],
  "processes that the command leaves running keep the lock": [
    `$LOCKED sh -c '(touch $AT/up; until [ -e $AT/end ]; do sleep 0.02; done) & exit' &
    until [ -e $AT/up ]; do sleep 0.02; done
    $TRY true 2> /dev/null || echo locked; touch $AT/end; $LOCKED echo free`,
    "locked\nfree\n"
  ]
}

const alive = "alive() { grep -q 'State:.[^ZX]' /proc/$(cat $AT/pid)/status 2> /dev/null; }; "

/** Starts a command that ends by itself only on SIGTERM, and sends the signal to what holds the lock. */
const signalled = (signal: string) =>
  `${alive}
  $LOCKED sh -c 'trap "echo asked to end; exit 5" TERM; echo $$ > $AT/pid; touch $AT/up; while :; do sleep 0.02; done' &
  until [ -e $AT/up ]; do sleep 0.02; done
  kill -s ${signal} $!; wait $! 2> /dev/null; code=$?
  # Ended by somebody who has to take notice first.
  [ "\${LOCKED%% *}" = flock ] || while alive; do sleep 0.02; done
  echo "exit code $code"
  if alive; then echo "the command goes on"; $TRY true || echo "with the lock"; kill $(cat $AT/pid); fi`

/** What they do differently. */
const different: Record<string, readonly [script: string, flock: string, redsync: string]> = {
  "the exit code without waiting, if the lock is held": [
    "$LOCKED sh -c \"$TRY true 2> /dev/null\"; echo $?",
    "1\n",
    "75\n"
  ],
  "a descriptor that was not open": [
    "$LOCKED sh -c 'for it in 3 4 5 6 7 8 9; do [ ! -e /dev/fd/$it ] || echo $it; done'",
    "3\n",
    ""
  ],
  "SIGTERM is sent to flock or redsync": [
    signalled("TERM"),
    "exit code 143\nthe command goes on\nwith the lock\nasked to end\n",
    "asked to end\nexit code 5\n"
  ],
  "SIGKILL is sent to flock or redsync": [
    signalled("KILL"),
    "exit code 137\nthe command goes on\nwith the lock\nasked to end\n",
    "asked to end\nexit code 137\n"
  ],
  "the command ends and leaves a process running": [
    `$LOCKED sh -c '(until [ -e $AT/end ]; do sleep 0.02; done; echo "what was left ends") & exit 3' &
    [ "\${LOCKED%% *}" = flock ] || touch $AT/end
    wait $!; echo "exit code $?"; touch $AT/end; $LOCKED true`,
    "exit code 3\nwhat was left ends\n",
    "what was left ends\nexit code 3\n"
  ],
  "an argument that is not UTF-8": ["$LOCKED printf %s $(printf '\\351') | od -c -A n; :", " 351\n", ""],
  "a variable whose value is not UTF-8": [
    "export X=$(printf '\\351'); $LOCKED sh -c 'printf %s \"$X\"' | od -c -A n",
    " 351\n",
    " 357 277 275\n"
  ],
  "no such command": ["$LOCKED no-such-command 2> /dev/null; echo $?", "69\n", "127\n"],
  "the command cannot be executed": ["$LOCKED $AT/forbidden 2> /dev/null; echo $?", "69\n", "126\n"]
}

/** How commands end that cannot be run: with 127 if they are not found, else with 126. */
const cannotRun: Record<string, readonly [command: string, code: number, error: string]> = {
  "no such command": ["no-such-command", 127, "no-such-command: command not found"],
  "no name": ["''", 127, "\"\": command not found"],
  "no such file": ["./no/such/file", 127, "./no/such/file: command not found"],
  "a path through a file": ["$AT/script/x", 126, "cannot run $AT/script/x: a component of the path is not a directory"],
  "a directory": ["$AT", 126, "cannot run $AT: it is a directory"],
  "no right to": ["$AT/forbidden", 126, "cannot run $AT/forbidden: permission denied"],
  "a loop of links": ["$AT/loop", 126, "cannot run $AT/loop: too many symbolic links"],
  "a name too long": [`$AT/${"x".repeat(300)}`, 126, `cannot run $AT/${"x".repeat(20)}`],
  "no interpreter": ["$AT/without-interpreter", 127, ""]
}

const manual = readPage("src/cli/README.md")

layer(RedisServers.layer(3), { excludeTestServices: true, concurrent: true })("redsync run as flock", (it) => {
  it("does all that the manual says", () => {
    const rows = /^\| +\| `flock`.*?\n\n/ms.exec(manual)![0].trimEnd().split("\n").slice(2)
    const told = rows.map((row) => row.split("|")[1]!.trim().replaceAll("`", ""))
    assert.sameMembers(told, [...Object.keys(alike), ...Object.keys(different)])
  })

  it.effect.each(Object.entries(alike))("does the same: %s", ([, [script, output]]) =>
    Effect.gen(function*() {
      const { flock, redsync } = yield* underBoth(script)
      assert.strictEqual(flock.output, output)
      assert.strictEqual(redsync.output, output)
    }))

  it.effect.each(Object.entries(different))(
    "does something else: %s",
    ([, [script, byFlock, byRedsync]]) =>
      Effect.gen(function*() {
        const { flock, redsync } = yield* underBoth(script)
        assert.strictEqual(flock.output, byFlock)
        assert.strictEqual(redsync.output, byRedsync)
      })
  )

  it.effect("a shell that ignores SIGQUIT for itself does not for the command, and drops no variable", () =>
    Effect.gen(function*() {
      const script = "kill -s QUIT $$; echo alive"
      const running = yield* start(["run", "by bash", "--", "sh", "-c", script], {
        nodes: yield* nodes,
        under: ["env", "a.b=c", "bash"]
      })
      assert.include(yield* running.ended, { code: 131, output: "" })
      const variables = yield* start(["run", "by bash", "--", "env"], {
        nodes: yield* nodes,
        under: ["env", "a.b=c", "bash"]
      })
      assert.include((yield* variables.ended).output, "a.b=c\n")
    }).pipe(Effect.scoped))

  it.effect("variables that shells drop are inherited, though together they are longer than one can be", () =>
    Effect.gen(function*() {
      const long = "x".repeat(100_000)
      const running = yield* start(["run", "large", "--", "env"], {
        nodes: yield* nodes,
        env: { "a.a": long, "a.b": long }
      })
      const { code, output } = yield* running.ended
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(output.match(/^a\..=x+$/gm), [`a.a=${long}`, `a.b=${long}`])
      assert.notInclude(output, "REDSYNC_LAUNCH")
    }).pipe(Effect.scoped))

  it.effect.each(Object.entries(cannotRun))(
    "what cannot be run is told in one line: %s",
    ([, [command, code, error]]) =>
      Effect.gen(function*() {
        const { redsync } = yield* underBoth(`$LOCKED ${command} > $AT/output; code=$?; echo $AT; exit $code`)
        assert.strictEqual(redsync.code, code)
        // A busy machine may have more to tell before.
        const last = redsync.errors.trimEnd().split("\n").at(-1)!
        assert.isTrue(last.startsWith(`redsync: ${error.replaceAll("$AT", redsync.output.trim())}`), redsync.errors)
      })
  )

  it.effect("what cannot be run is told in one line: a file that is being written", () =>
    Effect.gen(function*() {
      const at = yield* directory
      const file = join(at, "script")
      const busy = openSync(file, "r+")
      const { code, errors } = yield* redsync(["run", "busy", "--", file], { nodes: yield* nodes })
      closeSync(busy)
      assert.strictEqual(code, 126)
      assert.match(errors, /^redsync: .*(open for writing|Text file busy)\n$/m)
    }).pipe(Effect.scoped))

  it.effect("what cannot be run is told in one line: arguments that are too long", () =>
    Effect.gen(function*() {
      const holder = yield* start(["run", "long", "--", "sh", "-c", "echo up; exec sleep 1000"], {
        nodes: yield* nodes
      })
      yield* holder.printed("up")
      const args = Array.from({ length: 15 }, () => "x".repeat(100_000))
      const waiter = yield* start(["run", "long", "--", "echo", ...args], { nodes: yield* nodes })
      yield* until(
        "it is as it will be",
        Effect.sync(() => readFileSync(`/proc/${waiter.pid}/cmdline`, "utf8").startsWith("node"))
      )
      // The system takes a quarter of the stack for arguments: these are too long from now on.
      execFileSync("prlimit", ["--pid", String(waiter.pid), "--stack=4194304"])
      yield* holder.signal("SIGTERM")
      const { code, errors } = yield* waiter.ended
      const error = "redsync: cannot run echo: the arguments and the environment are too long\n"
      assert.strictEqual(code, 126)
      assert.isTrue(errors.endsWith(error), errors)
    }).pipe(Effect.scoped))
})
