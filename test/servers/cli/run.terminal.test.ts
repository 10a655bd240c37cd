/**
 * `redsync run` at a terminal, with the job control of an interactive shell.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { patient, program, redsync } from "../../support/commandLine.ts"
import { until } from "../../support/faults.ts"
import { isAlive, isStopped, place } from "../../support/place.ts"
import { RedisServers } from "../../support/servers/RedisServers.ts"
import { ctrl, openTerminal } from "../../support/terminal.ts"

/** Writes what it gets, and ends when it gets SIGTERM. */
const listener = `
  got() { echo $1 >> "$DIRECTORY/got"; }
  for signal in HUP INT QUIT USR1; do trap "got $signal" $signal; done
  echo $$ >> "$DIRECTORY/pids"; echo listening >> "$DIRECTORY/log"; echo listening >> "$DIRECTORY/log"
  while :; do sleep 0.02; done`

const nodes = Effect.map(RedisServers, (servers) => servers.map(({ url }) => url))

/** A terminal in which `redsync` is a command, and a place to work. */
const atTerminal = Effect.gen(function*() {
  const at = yield* place
  const terminal = yield* openTerminal({
    ...process.env,
    ...patient,
    ...at.env,
    R: program,
    LISTENER: listener,
    REDSYNC_NODES: (yield* nodes).join(",")
  })
  /** Types a command that has to come to its end, and returns how it ended. */
  const endsWith = (code: number) =>
    Effect.gen(function*() {
      yield* terminal.type("echo ended with $?\n")
      yield* terminal.shows(`ended with ${code}\r`)
    })
  return { ...terminal, endsWith, at }
})

layer(RedisServers.layer(3), { excludeTestServices: true })("redsync run at a terminal", (it) => {
  it.effect("Ctrl-Z stops it and the command, wherever input and output go, and nobody is left when another has the lock", () =>
    Effect.gen(function*() {
      const { at, endsWith, shows, type } = yield* atTerminal
      yield* type(`$R run --expiry 2s --grace 300ms paused -- worker < /dev/null > "$DIRECTORY/output" 2>&1\n`)
      yield* at.atWork(1)
      yield* type(ctrl.z)
      yield* shows("Stopped")
      // By the watchdog even, if this machine is very busy.
      yield* until(
        "the worker stands still",
        Effect.sync(() => at.pids().every((pid) => !isAlive(pid) || isStopped(pid)))
      )
      const next = yield* at.run(["paused", "--", "sh", "-c", "echo next >> $DIRECTORY/log"], { nodes: yield* nodes })
      assert.strictEqual((yield* next.ended).code, 0)
      yield* type("fg\n")
      yield* endsWith(70)
      yield* at.gone
      assert.strictEqual(at.log().at(-1), "next")
    }).pipe(Effect.scoped))

  it.effect("continued in time, all goes on as if nothing had happened", () =>
    Effect.gen(function*() {
      const { at, endsWith, shows, type } = yield* atTerminal
      yield* type("$R run --expiry 1h resumed -- worker\n")
      yield* at.atWork(1)
      yield* type(ctrl.z)
      yield* shows("Stopped")
      yield* until("the worker is stopped", Effect.sync(() => at.pids().every(isStopped)))
      const lines = at.log().length
      yield* type("fg\n")
      yield* until("the worker is at work again", Effect.sync(() => at.log().length > lines + 3))
      assert.strictEqual(
        (yield* redsync(["run", "--wait", "0", "resumed", "--", "true"], { nodes: yield* nodes })).code,
        75
      )
      yield* type(ctrl.c)
      yield* endsWith(130)
    }).pipe(Effect.scoped))

  it.effect("the command has the terminal, wherever input and output go", () =>
    Effect.gen(function*() {
      const { endsWith, shows, type } = yield* atTerminal
      yield* type(
        "$R run tty -- sh -c 'read line < /dev/tty; echo \"<$line>\" > /dev/tty' < /dev/null > /dev/null 2>&1\n"
      )
      yield* type("hello\n")
      yield* shows("<hello>")
      yield* endsWith(0)
    }).pipe(Effect.scoped))

  it.effect.each(["sh", "setsid sh"])(
    "what is typed or sent to redsync alone reaches the command once: %s",
    (shell) =>
      Effect.gen(function*() {
        const { at, endsWith, type } = yield* atTerminal
        yield* type(`sh -c 'echo $$ > $DIRECTORY/redsync; exec $R run signals -- ${shell} -c "$LISTENER"'\n`)
        yield* at.atWork(1)
        const got = (signals: string) =>
          until(
            `it got ${signals}`,
            Effect.sync(() => {
              const soFar = at.read("got")
              assert.strictEqual(soFar, signals.slice(0, soFar.length))
              return soFar === signals
            })
          )
        const redsync = Number(at.read("redsync"))
        process.kill(redsync, "SIGINT")
        yield* got("INT")
        process.kill(redsync, "SIGQUIT")
        yield* got("INT QUIT")
        yield* type(ctrl.c)
        yield* got("INT QUIT INT")
        yield* type(ctrl.backslash)
        yield* got("INT QUIT INT QUIT")
        process.kill(redsync, "SIGUSR1")
        yield* got("INT QUIT INT QUIT USR1")
        process.kill(redsync, "SIGTERM")
        yield* endsWith(143)
        assert.strictEqual(at.read("got"), "INT QUIT INT QUIT USR1")
      }).pipe(Effect.scoped)
  )

  it.effect("SIGTERM ends what the command has started too", () =>
    Effect.gen(function*() {
      const { at, type } = yield* atTerminal
      yield* type("sh -c 'echo $$ > $DIRECTORY/redsync; exec $R run workers -- sh -c \"worker; true\"'\n")
      yield* at.atWork(1)
      process.kill(Number(at.read("redsync")), "SIGTERM")
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("the loss of the lock ends what the command has started too", () =>
    Effect.gen(function*() {
      const { at, endsWith, type } = yield* atTerminal
      yield* type("$R run --expiry 1s --grace 200ms lost -- sh -c 'deaf; true'\n")
      yield* at.atWork(1)
      for (const { command } of yield* RedisServers) yield* command("DEL", "lost")
      yield* endsWith(70)
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("the end of redsync ends what the command has started too", () =>
    Effect.gen(function*() {
      const { at, type } = yield* atTerminal
      yield* type(
        "sh -c 'echo $$ > $DIRECTORY/redsync; exec $R run --grace 200ms killed -- sh -c \"env -i $(which sleep) 1000 & deaf; true\"'\n"
      )
      yield* at.atWork(1)
      process.kill(Number(at.read("redsync")), "SIGKILL")
      yield* at.gone
    }).pipe(Effect.scoped))

  it.effect("what it is piped to stays in front", () =>
    Effect.gen(function*() {
      const { endsWith, shows, type } = yield* atTerminal
      yield* type("$R run piped -- echo question | sh -c 'cat; read line < /dev/tty; echo \"<$line>\"'\n")
      yield* shows("question\r")
      yield* type("answer\n")
      yield* shows("<answer>")
      yield* endsWith(0)
    }).pipe(Effect.scoped))
})
