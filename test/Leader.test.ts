/** Leaders and cron jobs: what happens at each event, on nodes in memory and a clock of the test's own. */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Cron,
  DateTime,
  type Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  References,
  Schedule,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import { forceUnlock, inspect, Leader, LockLost, Redsync, withLock } from "../src/index.ts"
import { layerTest, TestNodes } from "../src/testing.ts"
import * as ShiftedClock from "./support/shiftedClock.ts"

/** What has happened, with the second in which it did. */
class Events extends Context.Service<Events, {
  readonly add: (event: string) => Effect.Effect<void>
  readonly all: ReadonlyArray<string>
}>()("test/Events") {
  static readonly layer = Layer.effect(
    Events,
    Effect.map(Clock.Clock, (clock) => {
      const all: Array<string> = []
      const add = (event: string) =>
        Effect.sync(() => void all.push(`${clock.currentTimeMillisUnsafe() / 1000} s: ${event}`))
      return { all, add }
    })
  )
}

const happens = (event: string) => Events.use(({ add }) => add(event))

/** What is logged of leaders and jobs. */
class Lines extends Context.Service<Lines, Array<string>>()("test/Lines") {
  static readonly layer = Layer.unwrap(Effect.sync(() => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      const [text, error] = [message].flat()
      const line = `${logLevel}: ${String(text)}${error instanceof Error ? `, ${error.name}` : ""}`
      if (/leader of|cron job/i.test(line)) lines.push(line)
    })
    return Layer.merge(Logger.layer([logger]), Layer.succeed(Lines, lines))
  }))
}

/** Another instance of the program, over the same nodes, until it is closed. */
const instance = Effect.fnUntraced(function*(program: Layer.Layer<never, never, Redsync | Events>) {
  const { nodes } = yield* TestNodes
  const scope = yield* Scope.fork(yield* Effect.scope)
  const service = Redsync.layer({ nodes: nodes.map(({ node }) => node) })
  yield* Layer.buildWithScope(Layer.provide(program, Layer.fresh(service)), scope)
  return { close: Scope.close(scope, Exit.void) }
})

/** What it does until it is interrupted. */
const leads = (who: string) =>
  Effect.andThen(happens(`${who} leads`), Effect.never).pipe(
    Effect.onInterrupt(() => happens(`${who} is interrupted`))
  )

const environment = Layer.mergeAll(Events.layer, Lines.layer).pipe(Layer.provideMerge(layerTest({ count: 3 })))

/** Before the instances close, which would wait for answers on a clock that nobody adjusts any more. */
const nodesUp = TestNodes.use(({ all }) => all("up"))

type World = Redsync | TestNodes | Events | Lines | Scope.Scope

const test = <E>(name: string, body: () => Generator<Effect.Effect<unknown, E, World>, void, never>) =>
  it.effect(name, () => Effect.gen(body).pipe(Effect.ensuring(nodesUp), Effect.scoped, Effect.provide(environment)))

/** What has happened since it was last asked. */
const events = Effect.map(Events, ({ all }) => (all as Array<string>).splice(0))

const lines = Effect.map(Lines, (lines) => lines.splice(0))

/** Nothing that is ever meant: even asking what some of these are throws. */
const unreadable: ReadonlyArray<unknown> = [
  new Proxy({}, {
    get: () => assert.fail(),
    has: () => assert.fail(),
    ownKeys: () => assert.fail(),
    getPrototypeOf: () => assert.fail()
  })
]

const noOptions: ReadonlyArray<unknown> = [null, 7, "x", [], () => 1, ...unreadable]

/** What is no value of the options that leaders and jobs share with locks. */
const ofLock: Record<string, ReadonlyArray<unknown>> = {
  expiry: [null, 0, -1, Number.NaN, Infinity, "later", "366 days", {}, ...unreadable],
  nodeTimeout: [null, 0, -1, Number.NaN, Infinity, "later", "2 hours", {}, ...unreadable],
  driftFactor: [null, -0.1, 1, Number.NaN, "0.1", ...unreadable],
  autoExtend: [null, 1, "true", ...unreadable]
}

const throws = (option: string): object =>
  Object.defineProperty({}, option, { enumerable: true, get: () => assert.fail("no") })

const refusalIn = (exit: Exit.Exit<unknown>) => {
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  return Cause.isIllegalArgumentError(error) ? error.message : `no refusal: ${String(error)}`
}

const refuses = (option: string, layer: Layer.Layer<never, never, Redsync>) =>
  Effect.map(Effect.exit(instance(layer)), (exit) =>
    assert.match(
      refusalIn(exit),
      new RegExp(`^effect-redsync: (the option ${option} |the ${option} are |there is no option "${option}")`)
    ))

type Arguments = [name: string, program: Effect.Effect<void>, options?: Leader.LeaderOptions]

type Programs = Effect.Effect<void, unknown, Events | Scope.Scope>

const singleton = (who: string, options?: Leader.LeaderOptions, program: Programs = leads(who)) =>
  instance(Leader.singleton("outbox", program, options))

describe("a leader", () => {
  test("is waited for in the background, for as long as it takes", function*() {
    const { occupy } = yield* TestNodes
    yield* occupy("outbox", "1 day")
    yield* singleton("a")
    yield* TestClock.adjust("2 hours")
    assert.deepStrictEqual(yield* events, [])
    yield* forceUnlock("outbox")
    yield* TestClock.adjust("2 seconds")
    assert.match((yield* events).join(), /^720\d(.\d+)? s: a leads$/)
    assert.deepStrictEqual(yield* lines, [])
  })

  test("whose program succeeds stays the leader", function*() {
    yield* singleton("a", {}, happens("a is done"))
    yield* singleton("b")
    yield* TestClock.adjust("10 minutes")
    assert.deepStrictEqual(yield* events, ["0 s: a is done"])
  })

  test("whose lock is stolen is interrupted at the next extension, and leads again when it is free", function*() {
    yield* singleton("a")
    const { steal } = yield* TestNodes
    yield* steal("outbox")
    yield* TestClock.adjust("3 seconds")
    assert.deepStrictEqual(yield* events, ["0 s: a leads", "2.667 s: a is interrupted"])
    yield* TestClock.adjust("2 minutes")
    assert.deepStrictEqual(yield* events, ["60.001 s: a leads"])
    assert.deepStrictEqual(yield* lines, [`Info: No longer leader of "outbox": standing for election again`])
  })

  test("is followed after forceUnlock, by one with a larger token", function*() {
    const tokens: Array<number> = []
    const program = (who: string) => (lock: { readonly token: number }) =>
      Effect.andThen(Effect.sync(() => tokens.push(lock.token)), leads(who))
    yield* instance(Leader.singleton("outbox", program("a")))
    yield* instance(Leader.singleton("outbox", program("b")))
    yield* TestClock.adjust("1 second")
    yield* forceUnlock("outbox")
    yield* TestClock.adjust("2 seconds")
    assert.match((yield* events).join(), /^0 s: a leads,[12](.\d+)? s: b leads,2.667 s: a is interrupted$/)
    assert.isAbove(tokens[1]!, tokens[0]!)
  })

  it.effect.each<readonly [string, Effect.Effect<never, unknown>]>([
    ["fails", Effect.fail(new Error("no"))],
    ["dies", Effect.die(new Error("no"))],
    ["interrupts itself", Effect.interrupt],
    ["loses a lock of its own", Effect.fail(new LockLost({ lock: "other", reason: "Taken", votes: [] }))]
  ])(
    "whose program %s is followed at the same instant, and stands for election again after a pause",
    ([, end]) =>
      Effect.gen(function*() {
        yield* singleton("a", {}, Effect.andThen(Effect.sleep("1 second"), Effect.andThen(happens("a fails"), end)))
        const { close } = yield* singleton("b")
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* events, ["1 s: a fails", "1 s: b leads"])
        const [warning] = yield* lines
        assert.include(warning, `Warn: The leader of "outbox" failed: standing for election again`)
        yield* TestClock.adjust("1 second")
        yield* close
        assert.deepStrictEqual(yield* events, ["2 s: b is interrupted"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* events, ["3 s: a fails"])
      }).pipe(Effect.scoped, Effect.provide(environment))
  )

  test("pauses ever longer while its program fails, and as at first after a long term", function*() {
    let isLong = false
    const program = Effect.suspend(() =>
      Effect.andThen(
        happens("leads"),
        isLong ? Effect.andThen(Effect.sleep("30 seconds"), Effect.fail("late")) : Effect.fail("at once")
      )
    )
    yield* singleton("a", {}, program)
    yield* TestClock.adjust("2 minutes")
    assert.deepStrictEqual(
      yield* events,
      [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 81, 111].map((at) => `${at} s: leads`)
    )
    isLong = true
    yield* TestClock.adjust("80 seconds")
    assert.deepStrictEqual(yield* events, [141, 171.2].map((at) => `${at} s: leads`))
  })

  test("pauses ever longer while each term is short of half a minute", function*() {
    yield* singleton(
      "a",
      {},
      Effect.andThen(happens("leads"), Effect.andThen(Effect.sleep("29 seconds"), Effect.fail("no")))
    )
    yield* TestClock.adjust("2 minutes")
    assert.deepStrictEqual(yield* events, [0, 29.2, 58.6, 88.4, 119].map((at) => `${at} s: leads`))
  })

  test("says anew that too few nodes respond, once it has led in between", function*() {
    const { all } = yield* TestNodes
    const warning = `Warn: Cannot become leader of "outbox" for now, effect-redsync/NodesUnavailable`
    yield* all("down")
    yield* singleton("a")
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(yield* lines, [warning])
    yield* all("up")
    yield* TestClock.adjust("2 seconds")
    yield* all("down")
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(yield* lines, [
      `Info: No longer leader of "outbox": standing for election again`,
      warning
    ])
  })

  test("logs with its name and its token", function*() {
    const about: Array<object> = []
    const logger = Logger.make(({ fiber, message }) => {
      if ([message].flat()[0] === "working") about.push(fiber.getRef(References.CurrentLogAnnotations))
    })
    const tokens: Array<number> = []
    const program = ({ token }: { readonly token: number }) =>
      Effect.andThen(Effect.sync(() => tokens.push(token)), Effect.andThen(Effect.log("working"), Effect.never))
    yield* Effect.forkChild(Effect.provide(Leader.lead("outbox", program), Logger.layer([logger])))
    yield* TestClock.adjust(1)
    assert.deepStrictEqual(about, [{ "redsync.lock": "outbox", "redsync.token": tokens[0]! }])
  })

  test("gives up where the schedule ends", function*() {
    const program = happens("a leads").pipe(Effect.andThen(Effect.sleep("1 second")), Effect.andThen(Effect.fail("no")))
    yield* singleton("a", { restart: Schedule.recurs(1) }, program)
    yield* TestClock.adjust("1 minute")
    yield* singleton("b")
    yield* TestClock.adjust(0)
    assert.deepStrictEqual(yield* events, ["0 s: a leads", "1 s: a leads", "60 s: b leads"])
    const dies = yield* Effect.exit(Leader.lead("other", Effect.fail("no"), { restart: Schedule.recurs(2) }))
    assert.deepStrictEqual(dies, Exit.die("no"))
    assert.include(yield* lines, `Error: Leader of "outbox" ended for good`)
  })

  test("says once that too few nodes respond, and is elected within two seconds when they do", function*() {
    const { all, occupy } = yield* TestNodes
    for (const state of ["down", "silent", { rejects: "OOM" }] as const) {
      yield* occupy("outbox", "10 seconds")
      const { close } = yield* singleton("a")
      yield* all(state)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* lines, [
        `Warn: Cannot become leader of "outbox" for now, effect-redsync/NodesUnavailable`
      ])
      yield* all("up")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* events).length, 1)
      yield* close
      assert.strictEqual((yield* events).length, 1)
    }
  })

  test("that is cut off is stopped when its lease ends, and leads again within two seconds", function*() {
    const { all } = yield* TestNodes
    yield* singleton("a")
    yield* all("down")
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(yield* events, ["0 s: a leads", "7.918 s: a is interrupted"])
    yield* all("up")
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual((yield* events).length, 1)
  })

  test("that is closed is interrupted, and followed at the same instant", function*() {
    const { close } = yield* singleton(
      "a",
      {},
      Effect.scoped(Effect.andThen(Effect.addFinalizer(() => happens("a closes")), leads("a")))
    )
    yield* singleton("b")
    yield* TestClock.adjust("41.5 seconds")
    yield* close
    yield* TestClock.adjust(0)
    assert.deepStrictEqual(yield* events, [
      "0 s: a leads",
      "41.5 s: a is interrupted",
      "41.5 s: a closes",
      "41.5 s: b leads"
    ])
    yield* TestClock.adjust("10 minutes")
    assert.deepStrictEqual(yield* events, [])
  })

  test("has a scope for each term", function*() {
    const program = Effect.andThen(
      Effect.addFinalizer(() => happens("closes")),
      Effect.andThen(happens("leads"), Effect.fail("no"))
    )
    yield* instance(Leader.singleton("outbox", program))
    yield* TestClock.adjust("200 millis")
    assert.deepStrictEqual(yield* events, ["0 s: leads", "0 s: closes", "0.2 s: leads", "0.2 s: closes"])
  })

  test("whose candidacy is interrupted leaves nothing behind", function*() {
    const { occupy } = yield* TestNodes
    yield* occupy("outbox", "10 seconds")
    const { close } = yield* singleton("a")
    yield* TestClock.adjust("1 second")
    yield* close
    yield* TestClock.adjust("10 seconds")
    assert.isTrue((yield* inspect("outbox")).nodes.every(({ _tag }) => _tag === "Free"))
    assert.deepStrictEqual(yield* events, [])
  })

  test("of a service that has been closed pauses too", function*() {
    const { nodes } = yield* TestNodes
    const scope = yield* Scope.make()
    const redsync = yield* Redsync.make({ nodes: nodes.map(({ node }) => node) }).pipe(Scope.provide(scope))
    yield* Effect.forkChild(Effect.provideService(Leader.lead("outbox", leads("a")), Redsync.Redsync, redsync), {
      startImmediately: true
    })
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("1 minute")
    const warnings = (yield* lines).filter((line) => line.startsWith("Warn"))
    assert.isAtMost(warnings.length, 10)
  })

  test("with an invalid option, or one that cannot be read, dies with its name, and so does its layer", function*() {
    const invalid: ReadonlyArray<readonly [option: string, name: unknown, program: unknown, options?: unknown]> = [
      ...["", 7, null, undefined, Symbol("a"), ...unreadable, "x".repeat(4097), "redsync:1:a", "\ud800"].map((name) =>
        ["name", name, Effect.never] as const
      ),
      ...[42, null, undefined, "work", {}, ...unreadable].map((program) => ["program", "a", program] as const),
      ...noOptions.map((options) => ["options", "a", Effect.never, options] as const),
      ...Object.entries({ ...ofLock, restart: [1, null, "1 second", {}, ...unreadable] }).flatMap(([option, values]) =>
        [...values.map((value) => ({ [option]: value })), throws(option)].map((options) =>
          [option, "a", Effect.never, options] as const
        )
      ),
      ["expirey", "a", Effect.never, { expirey: 1 }],
      ["retry", "a", Effect.never, { retry: Schedule.forever }]
    ]
    for (const [option, ...args] of invalid) {
      yield* refuses(option, Layer.effectDiscard(Leader.lead<never, never>(...args as Arguments)))
      yield* refuses(option, Leader.singleton<never, never>(...args as Arguments))
    }
  })

  test("whose program is a function that returns none fails, and says so", function*() {
    const exit = yield* Effect.exit(
      Leader.lead<never, never>("outbox", (() => 42) as never, { restart: Schedule.recurs(0) })
    )
    assert.include(refusalIn(exit), "the option program is a function that returned 42; it must return an Effect")
  })

  test("and locks that are no leader's exclude each other", function*() {
    yield* singleton("a")
    const other = yield* Effect.forkChild(
      withLock("outbox", Effect.void, { retry: Schedule.recurs(0) }).pipe(Effect.flip)
    )
    yield* TestClock.adjust(0)
    assert.strictEqual((yield* Fiber.join(other))._tag, "ErrFailed")
  })
})

// -----------------------------------------------------------------------------
// cron jobs
// -----------------------------------------------------------------------------

/** An instance whose clock is ahead by that much. */
const cronOn = (
  ahead: number,
  execute: Effect.Effect<void, unknown, Events | Leader.CurrentScheduledTime | Scope.Scope>,
  options?: Partial<Leader.CronOptions<never, never>>
) =>
  Effect.flatMap(ShiftedClock.make, (clock) => {
    clock.wall = ahead
    const layer = Leader.cron({ name: "job", cron: Cron.parseUnsafe("* * * * *", "UTC"), execute, ...options })
    return Effect.map(
      Effect.provideService(instance(layer), Clock.Clock, clock),
      ({ close }) => ({ clock, close: Effect.provideService(close, Clock.Clock, clock) })
    )
  })

const executes = Leader.CurrentScheduledTime.use((time) => happens(`run of ${DateTime.formatIso(time).slice(11, 19)}`))

const executesFor = (duration: Duration.Input) => Effect.andThen(executes, Effect.sleep(duration))

describe("a cron job", () => {
  test("runs once on all instances, whatever their clocks, as soon as the first of them says so", function*() {
    for (const ahead of [0, 59_000, 1000, 30_000, 1]) yield* cronOn(ahead, executes)
    yield* TestClock.adjust("5 minutes")
    assert.deepStrictEqual(yield* events, [
      "1 s: run of 00:01:00",
      "61 s: run of 00:02:00",
      "121 s: run of 00:03:00",
      "181 s: run of 00:04:00",
      "241 s: run of 00:05:00"
    ])
    assert.deepStrictEqual(yield* lines, [])
  })

  test("leaves out a run while an earlier one is going on, on any instance", function*() {
    for (let instances = 0; instances < 3; instances++) yield* cronOn(0, executesFor("90 seconds"))
    yield* TestClock.adjust("5 minutes")
    assert.deepStrictEqual(yield* events, [
      "60 s: run of 00:01:00",
      "180 s: run of 00:03:00",
      "300 s: run of 00:05:00"
    ])
    assert.deepStrictEqual(
      yield* lines,
      [2, 4].map((minute) =>
        `Info: Run 1970-01-01T00:0${minute}:00.000Z of cron job "job" is skipped: an earlier one is still running`
      )
    )
  })

  test("runs at the same time as an earlier run if overlap is allowed", function*() {
    for (let instances = 0; instances < 3; instances++) {
      yield* cronOn(0, executesFor("90 seconds"), { overlap: "allow" })
    }
    yield* TestClock.adjust("3 minutes")
    assert.strictEqual((yield* events).length, 3)
    assert.deepStrictEqual(yield* lines, [])
  })

  it.effect.each<readonly [string, Effect.Effect<never, unknown>]>([
    ["fails", Effect.fail(new Error("no"))],
    ["dies", Effect.die(new Error("no"))],
    ["interrupts itself", Effect.interrupt]
  ])("that %s does so once, and runs again at the next time", ([, end]) =>
    Effect.gen(function*() {
      for (let instances = 0; instances < 3; instances++) yield* cronOn(0, Effect.andThen(executes, end))
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(yield* events, ["60 s: run of 00:01:00", "120 s: run of 00:02:00"])
      assert.deepStrictEqual(
        (yield* lines).map((line) => line.replace(/,.*/, "")),
        [1, 2].map((minute) =>
          `Warn: Run 1970-01-01T00:0${minute}:00.000Z of cron job "job" failed and will not be repeated`
        )
      )
    }).pipe(Effect.scoped, Effect.provide(environment)))

  test("whose lock is lost is interrupted, and not repeated", function*() {
    const execute = Effect.onInterrupt(executesFor("20 seconds"), () => happens("interrupted"))
    for (let instances = 0; instances < 3; instances++) yield* cronOn(0, execute)
    yield* TestClock.adjust("1 minute")
    const { steal } = yield* TestNodes
    yield* steal("job")
    yield* TestClock.adjust("50 seconds")
    assert.deepStrictEqual(yield* events, ["60 s: run of 00:01:00", "62.667 s: interrupted"])
    assert.deepStrictEqual(yield* lines, [
      `Warn: Run 1970-01-01T00:01:00.000Z of cron job "job" failed and will not be repeated`
    ])
  })

  test("on an instance that is closed is interrupted, and not repeated on another one", function*() {
    const execute = Effect.andThen(Effect.addFinalizer(() => happens("finalized")), executesFor("20 seconds"))
    const first = yield* cronOn(1000, execute)
    yield* cronOn(0, executes)
    yield* TestClock.adjust("65 seconds")
    yield* first.close
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(yield* events, ["59 s: run of 00:01:00", "65 s: finalized", "120 s: run of 00:02:00"])
    assert.deepStrictEqual(yield* lines, [
      `Warn: Run 1970-01-01T00:01:00.000Z of cron job "job" was interrupted on this instance`
    ])
  })

  test("runs late where too few nodes respond for less than the skew, and is missed where for longer", function*() {
    const { all } = yield* TestNodes
    for (const state of ["down", "silent", { rejects: "OOM" }] as const) {
      const instances = yield* Effect.forEach([0, 5000], (ahead) => cronOn(ahead, executes))
      const since = yield* Clock.currentTimeMillis
      yield* TestClock.adjust("54 seconds")
      yield* all(state)
      yield* TestClock.adjust("50 seconds")
      yield* all("up")
      yield* TestClock.adjust("8 seconds")
      const late = yield* events
      assert.strictEqual(late.length, 1)
      assert.isAtLeast(Number.parseFloat(late[0]!) * 1000 - since, 104_000)
      yield* all(state)
      yield* TestClock.adjust("72 seconds")
      assert.deepStrictEqual(yield* events, [])
      const warnings = yield* lines
      assert.strictEqual(warnings.length, 2)
      for (const line of warnings) {
        assert.match(line, /^Warn: .* could not be claimed on this instance, .*NodesUnavailable$/)
      }
      yield* all("up")
      yield* TestClock.adjust("56 seconds")
      assert.strictEqual((yield* events).length, 2)
      for (const { close } of instances) yield* close
    }
  })

  test("is not run again by an instance whose clock is behind and that reaches the nodes at last", function*() {
    yield* cronOn(0, executes)
    yield* cronOn(-60_000, executes)
    yield* TestClock.adjust("60 seconds")
    const { all } = yield* TestNodes
    yield* all("down")
    yield* TestClock.adjust("117 seconds")
    yield* all("up")
    yield* TestClock.adjust("3 seconds")
    assert.deepStrictEqual((yield* events).filter((event) => event.endsWith("00:01:00")), ["60 s: run of 00:01:00"])
  })

  test("does not run where the instance stood still until it was too late to claim it, and gives the claim back", function*() {
    const { all } = yield* TestNodes
    const { clock } = yield* cronOn(0, executes)
    yield* all({ slow: "500 millis" })
    yield* TestClock.adjust("60 seconds")
    clock.wall = 61_000
    yield* TestClock.adjust("5 seconds")
    assert.deepStrictEqual(yield* events, [])
    assert.include(
      yield* lines,
      `Warn: Run 1970-01-01T00:01:00.000Z of cron job "job" could not be claimed on this instance`
    )
    yield* all("up")
    assert.isTrue((yield* inspect("job@1970-01-01T00:01:00.000Z")).nodes.every(({ _tag }) => _tag === "Free"))
  })

  test("is claimed at last where the votes are split at first", function*() {
    const { nodes: [first, second] } = yield* TestNodes
    yield* cronOn(0, executes)
    yield* first!.occupy("job@1970-01-01T00:01:00.000Z", "70 seconds")
    yield* second!.set("down")
    yield* TestClock.adjust("80 seconds")
    const [late] = yield* events
    assert.isTrue(Number.parseFloat(late!) >= 70, late)
  })

  test("goes on where the clock is set: what it leaps over is left out, and nothing runs twice", function*() {
    const { clock } = yield* cronOn(0, executes)
    yield* TestClock.adjust("70 seconds")
    clock.wall = -3_600_000
    yield* TestClock.adjust("5 minutes")
    assert.deepStrictEqual(yield* events, ["60 s: run of 00:01:00"])
    clock.wall = 3_600_000
    yield* TestClock.adjust("60 seconds")
    const runs = (yield* events).map((event) => event.replace(/.*run of /, ""))
    assert.deepStrictEqual(runs, ["01:06:00", "01:07:00"])
    assert.deepStrictEqual(yield* lines, [
      `Warn: This instance runs cron job "job" next at 1970-01-01T00:02:00.000Z: its clock was set back by 3600.0 s, ` +
      "and no run is repeated",
      `Warn: This instance skips the runs of cron job "job" due from 1970-01-01T00:02:00.000Z to 1970-01-01T01:05:30.000Z: ` +
      "this process was blocked or suspended, or its clock was set"
    ])
  })

  test("with an invalid option, or one that cannot be read, makes its layer die with the option's name", function*() {
    const valid = { name: "job", cron: Cron.parseUnsafe("* * * * *", "UTC"), execute: Effect.void }
    const { autoExtend: _, ...durations } = ofLock
    const never = Cron.make({ seconds: [0], minutes: [0], hours: [0], days: [30], months: [2], weekdays: [] })
    const values: Record<string, ReadonlyArray<unknown>> = {
      ...durations,
      name: ["", 7, null, undefined, Symbol("a"), ...unreadable, "x".repeat(4097), "x".repeat(4090), "redsync:1:a"],
      cron: ["* * * * *", "no", null, undefined, 5, Cron.parse("* * * * *"), never, {}, ...unreadable],
      execute: [1, null, undefined, () => Effect.void, ...unreadable],
      clockSkew: [null, 0, -1, 999, Number.NaN, Infinity, "25 hours", "later", {}, ...unreadable],
      overlap: ["no", null, true, "", ...unreadable]
    }
    for (const [option, all] of Object.entries(values)) {
      for (const value of all) {
        yield* refuses(option, Leader.cron({ ...valid, [option]: value }))
      }
      const { [option as "name"]: __, ...others } = valid
      yield* refuses(option, Leader.cron(Object.assign(throws(option), others) as never))
    }
    for (const options of noOptions) yield* refuses("options", Leader.cron(options as never))
    for (const option of ["expirey", "retry", "autoExtend"]) {
      yield* refuses(option, Leader.cron({ ...valid, [option]: Schedule.forever }))
    }
  })

  test("whose runs have names that the prefix makes too long makes its layer die", function*() {
    const prefixed = Layer.effect(
      Redsync.Redsync,
      Effect.flatMap(Redsync.Redsync, ({ prefixed }) => prefixed("x".repeat(4000)))
    )
    const job = Leader.cron({ name: "x".repeat(90), cron: Cron.parseUnsafe("* * * * *"), execute: Effect.void })
    yield* refuses("name", Layer.provide(job, prefixed))
  })
})
