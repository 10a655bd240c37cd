/**
 * `redsync run` under fire: twenty shells compete for one lock, and whoever has
 * it writes to one file, while processes are stopped and killed and servers fail.
 * The writers run in groups, sessions and under supervisors of their own, and most
 * ignore SIGTERM. The lines of two must never mix, and exit codes have to tell what
 * happened.
 *
 * Ten seconds, or as many as FIRE_SECONDS says; part of `npm run test:long`.
 */
import { assert, layer } from "@effect/vitest"
import { Effect, Random, Semaphore } from "effect"
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { program, type Running, start } from "../../support/commandLine.ts"
import { type RedisServer, RedisServers } from "../../support/servers/RedisServers.ts"

const seconds = Number(process.env["FIRE_SECONDS"] ?? 10)
const shells = 20
/** With this lease, SIGTERM comes 2 s before its end and SIGKILL 0.5 s. */
const timing = ["--expiry", "5s", "--grace", "1500ms"]

/** Writes a line with its name and process every 30 ms: a dozen, or as many as fit into an outage. */
const writer = `
  [ "$STUBBORN" ] && trap '' TERM
  lines=0
  while [ $lines -lt 12 ] || [ -e "$DIRECTORY/outage" ]; do
    echo "$RUN $$" >> "$DIRECTORY/guarded"
    lines=$((lines + 1))
    sleep 0.03
  done
  echo "$RUN $$ done" >> "$DIRECTORY/guarded"`

/** Commands that run the writer. */
const ways: ReadonlyArray<ReadonlyArray<string>> = [
  ["sh", "-c", writer],
  ["sh", "-c", "exec \"$REDSYNC\" run --expiry 5s --grace 1h \"of $RUN\" -- sh -c \"$WRITER\""],
  ["setsid", "--wait", "sh", "-c", writer],
  ["sh", "-c", "setsid sh -c \"$WRITER\" & wait $!"],
  ["sh", "-c", "timeout 1000 sh -c \"$WRITER\""],
  ["bash", "-c", "set -m; sh -c \"$WRITER\" & wait $!"]
]

interface Line {
  readonly run: string
  readonly pid: number
  readonly done: boolean
}

interface Run {
  readonly name: string
  readonly running: Running
  readonly way: ReadonlyArray<string>
  /** What the test killed of it. */
  killed: "redsync" | "command" | undefined
  /** Whether the test stopped its redsync for a while. */
  wasStopped: boolean
  code?: number | NodeJS.Signals
  errors?: string
}

class Fire {
  readonly directory = mkdtempSync(join(tmpdir(), "redsync-fire-"))
  readonly runs: Array<Run> = []
  /** Servers that were killed cannot be stopped. */
  readonly troubleWithServers = Semaphore.makeUnsafe(1)
  over = false

  constructor() {
    appendFileSync(join(this.directory, "guarded"), "")
  }

  get lines(): ReadonlyArray<Line> {
    return readFileSync(join(this.directory, "guarded"), "utf8").trimEnd().split("\n").filter(Boolean).map((line) => {
      const [run = "", pid, done] = line.split(" ")
      return { run, pid: Number(pid), done: done === "done" }
    })
  }

  get outage(): boolean {
    return existsSync(join(this.directory, "outage"))
  }

  set outage(is: boolean) {
    const path = join(this.directory, "outage")
    if (is) writeFileSync(path, "")
    else rmSync(path, { force: true })
  }
}

const pick = <A>(from: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, from.length), (index) => from[index % from.length]!)

const pause = (least: number, most: number) => Effect.flatMap(Random.nextIntBetween(least, most), Effect.sleep)

/** Runs the writer under the lock, again and again. */
const shell = Effect.fnUntraced(function*(fire: Fire, index: number, nodes: ReadonlyArray<string>) {
  for (let turn = 1; !fire.over; turn++) {
    const name = `${index}.${turn}`
    const wait = yield* pick([["--wait", "0"], ["--wait", "3s"], [], []])
    const stubborn = yield* pick(["yes", "yes", ""])
    const way = yield* pick(ways)
    const flags = [...timing, ...wait]
    yield* Effect.scoped(Effect.gen(function*() {
      const running = yield* start(["run", ...flags, "fire", "--", ...way], {
        nodes,
        env: {
          DIRECTORY: fire.directory,
          RUN: name,
          STUBBORN: stubborn,
          WRITER: writer,
          REDSYNC: program,
          REDSYNC_NODE_TIMEOUT: "250ms"
        }
      })
      const run: Run = { name, running, way, killed: undefined, wasStopped: false }
      fire.runs.push(run)
      Object.assign(run, yield* running.ended)
    }))
  }
})

/** Kills a redsync, or the command that one of them runs. */
const killer = (fire: Fire) =>
  Effect.gen(function*() {
    yield* pause(500, 1500)
    if (fire.outage) return
    const alive = fire.runs.filter(({ code }) => code === undefined)
    const writing = fire.lines.at(-1)
    const writingRun = alive.find(({ name }) => name === writing?.run)
    if (writing !== undefined && writingRun !== undefined && !writing.done && (yield* Random.nextBoolean)) {
      if (yield* Random.nextBoolean) {
        writingRun.killed ??= "command"
        yield* Effect.ignore(Effect.try(() => process.kill(writing.pid, "SIGKILL")))
        return
      }
      writingRun.killed ??= "redsync"
      return yield* writingRun.running.signal("SIGKILL")
    }
    if (alive.length === 0) return
    const run = yield* pick(alive)
    run.killed ??= "redsync"
    yield* run.running.signal("SIGKILL")
  }).pipe(Effect.forever)

/** Stops a redsync whose command writes, until its lease is over, or nearly. */
const stopper = (fire: Fire) =>
  Effect.gen(function*() {
    yield* pause(500, 1500)
    const writing = fire.lines.at(-1)
    const run = fire.runs.find(({ code, name }) => code === undefined && name === writing?.run)
    if (run === undefined || fire.outage) return
    run.wasStopped = true
    yield* run.running.signal("SIGSTOP")
    yield* pause(500, 6000)
    yield* run.running.signal("SIGCONT")
  }).pipe(Effect.uninterruptible, Effect.forever)

/** Up to two of the five servers at a time fail. They come back with their data: a majority that forgets is no majority. */
const faults = (fire: Fire, servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    yield* pause(100, 500)
    yield* fire.troubleWithServers.withPermit(Effect.suspend(() => fire.outage ? Effect.void : twoFail(servers)))
  }).pipe(Effect.uninterruptible, Effect.forever)

const twoFail = (servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    const first = yield* Random.nextIntBetween(0, servers.length)
    const pair = [servers[first % 5]!, servers[(first + 2) % 5]!]
    yield* Effect.forEach(pair, (server) =>
      Effect.gen(function*() {
        switch (yield* pick(["freeze", "kill", "pause", "none"])) {
          case "freeze":
            return yield* Effect.andThen(Effect.andThen(server.stop, pause(100, 1000)), server.resume)
          case "kill":
            return yield* Effect.andThen(Effect.andThen(server.kill, pause(0, 500)), server.restart)
          case "pause":
            return yield* server.pause(300)
        }
      }), { concurrency: "unbounded" })
  })

/** All servers stand still, so that the lease ends or nearly does before they are back, and whoever writes goes on until redsync ends it. */
const outages = (fire: Fire, servers: ReadonlyArray<RedisServer>) =>
  Effect.gen(function*() {
    yield* Effect.sleep("3 seconds")
    yield* Effect.sync(() => fire.outage = true)
    // A writer that has just begun finds out.
    const before = fire.lines.length
    yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => fire.lines.length > before + 3 })
    yield* fire.troubleWithServers.withPermit(Effect.gen(function*() {
      yield* Effect.forEach(servers, ({ stop }) => stop, { concurrency: "unbounded" })
      yield* pause(3400, 5200)
      yield* Effect.forEach(servers, ({ resume }) => resume, { concurrency: "unbounded" })
      yield* Effect.sync(() => fire.outage = false)
    }))
  }).pipe(Effect.uninterruptible, Effect.forever)

const assertNeverTwoWriters = (lines: ReadonlyArray<Line>) => {
  const finished = new Set<string>()
  let last: string | undefined
  for (const [index, { run }] of lines.entries()) {
    if (run === last) continue
    if (last !== undefined) finished.add(last)
    const around = lines.slice(Math.max(0, index - 5), index + 5).map(({ run }) => run).join(" ")
    assert.isFalse(finished.has(run), `${run} wrote after another had begun: ${around}`)
    last = run
  }
}

const assertCodeTellsWhatHappened = (run: Run, lines: ReadonlyArray<Line>) => {
  const { code, errors, killed, name, wasStopped, way } = run
  const own = lines.filter(({ run }) => run === name)
  const isDone = own.at(-1)?.done === true
  const said = `${name} ended with ${code}, ${own.length} lines${
    isDone ? " to the end" : ""
  }, killed ${killed}, stopped ${wasStopped}: ${errors}${way.join(" ")}`
  switch (code) {
    case 0:
      return assert.isTrue(isDone, said)
    case 69:
    case 75:
      return assert.strictEqual(own.length, 0, said)
    case 70:
      return assert.match(
        errors!,
        /Lock "(fire|of [\d.]+)" (was lost|could not be extended)/,
        said
      )
    case 137:
      return assert.strictEqual(killed, "command", said)
    case 9:
      // `setsid --wait` exits with the number of the signal that has killed its command.
      assert.strictEqual(way[0], "setsid", said)
      return assert.strictEqual(killed, "command", said)
    case "SIGKILL":
      return assert.strictEqual(killed, "redsync", said)
    default:
      assert.fail(said)
  }
}

const persistent = { args: ["--appendonly", "yes", "--appendfsync", "always"] }

layer(RedisServers.layer(5, persistent), { excludeTestServices: true })("redsync run under fire", (it) => {
  it.effect("there are never two writers, and exit codes tell what happened", () =>
    Effect.gen(function*() {
      const fire = new Fire()
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(fire.directory, { recursive: true })))
      const servers = yield* RedisServers
      const nodes = servers.map(({ url }) => url)
      const contend = Effect.forEach(
        Array.from({ length: shells }, (_, index) => index + 1),
        (index) => shell(fire, index, nodes),
        { concurrency: "unbounded", discard: true }
      )
      const trouble = Effect.all([killer(fire), stopper(fire), faults(fire, servers), outages(fire, servers)], {
        concurrency: "unbounded"
      })
      const time = Effect.andThen(Effect.sleep(seconds * 1000), Effect.sync(() => fire.over = true))
      yield* Effect.all([contend, Effect.raceFirst(trouble, time)], { concurrency: "unbounded" })

      const { lines, runs } = fire
      const count = (code: Run["code"]) => runs.filter((run) => run.code === code).length
      const summary = [0, 69, 70, 75, 137, "SIGKILL"].map((code) => `${code}: ${count(code as Run["code"])}`).join(", ")
      console.log(`${runs.length} runs wrote ${lines.length} lines; exit codes ${summary}`)
      assertNeverTwoWriters(lines)
      for (const run of runs) assertCodeTellsWhatHappened(run, lines)
      // It was not for lack of trying.
      for (const code of [0, 70, 75, "SIGKILL"] as const) assert.isAbove(count(code), 0, summary)
    }).pipe(Effect.scoped))
})
