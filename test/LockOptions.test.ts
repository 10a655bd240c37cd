/**
 * Every option, of every verb and layer, either works as documented or is refused
 * with its name before any node is asked anything.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Duration, Effect, Exit, Layer, Option, Schedule, type Scope } from "effect"
import { Redis } from "effect/persistence"
import * as fc from "fast-check"
import { runInNewContext } from "node:vm"
import {
  adopt,
  adoptFenced,
  fencedLock,
  fencedSharedLock,
  Fencing,
  forceUnlock,
  inspect,
  Lock,
  lock,
  type LockNode,
  type LockOptions,
  MemoryNode,
  RedisNode,
  Redsync,
  retryPolicy,
  type ServiceOptions,
  sharedLock,
  tryFencedLock,
  tryFencedSharedLock,
  tryLock,
  trySharedLock,
  unlock,
  withFencedLock,
  withFencedLockIfAvailable,
  withFencedLocks,
  withFencedSharedLock,
  withFencedSharedLockIfAvailable,
  withLock,
  withLockIfAvailable,
  withLocks,
  withSharedLock,
  withSharedLockIfAvailable
} from "../src/index.ts"
import * as IoredisNode from "../src/IoredisNode.ts"
import { layerTest } from "../src/testing.ts"
import { open } from "./support/opened.ts"
import * as TestNodes from "./support/testNodes.ts"

type Verb = Effect.Effect<unknown, unknown, Redsync | Scope.Scope>

const day = 24 * 3600 * 1000

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

const hostile = new Proxy({}, {
  get() {
    throw new Error("no")
  },
  has() {
    throw new Error("no")
  },
  ownKeys() {
    throw new Error("no")
  },
  getPrototypeOf() {
    throw new Error("no")
  }
})

/** Even asking what these are throws, which the library of properties does itself. */
const unreadable: ReadonlyArray<unknown> = [revoked(), hostile]

/** Nothing that is ever meant, whatever the option. */
const nonsense: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    Number.NaN,
    -1,
    "",
    "abc",
    "0.5",
    "no",
    [],
    {},
    [1],
    [[]],
    Symbol("s"),
    () => 1,
    new Date(0),
    new Map(),
    /x/,
    Promise.resolve(1),
    Option.some(1),
    Effect.void
  ),
  fc.anything({ withBigInt: false, withDate: true, withMap: true, withNullPrototype: true, withSet: true })
    .filter((u) => u !== undefined && typeof u !== "boolean" && typeof u !== "number")
)

const isDuration = (u: unknown): boolean => {
  try {
    return Option.isSome(Duration.fromInput(u as Duration.Input))
  } catch {
    return false
  }
}

const noDuration = fc.oneof(
  fc.constantFrom<unknown>(
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -1,
    -0.001,
    -5n,
    "10",
    "10s",
    "10 secnds",
    "-1 seconds",
    "Infinity",
    "-Infinity",
    Duration.infinity,
    Duration.millis(-1),
    {},
    { sec: 1 },
    { seconds: "5" },
    { seconds: Number.NaN },
    { seconds: 1, secs: 2 },
    {
      get seconds() {
        throw new Error("no")
      }
    },
    [Number.NaN, 0],
    [1, 2, 3],
    ["1", "2"],
    true
  ),
  nonsense.filter((u) => !isDuration(u))
)

/** Durations of so many milliseconds, in every form. */
const durations = (min: number, max: number) =>
  fc.tuple(fc.integer({ min, max }), fc.nat(6)).map(([millis, form]): readonly [unknown, number] => [
    [
      millis,
      `${millis} millis`,
      Duration.millis(millis),
      { milliseconds: millis },
      BigInt(millis) * 1_000_000n,
      [0, millis * 1_000_000],
      millis + 0.25
    ][form],
    form === 6 ? millis + 0.25 : millis
  ])

/** For each option of a lock what works, with what the lock must then be like, and what is refused. */
const ofLock: Record<string, {
  readonly valid: fc.Arbitrary<readonly [unknown, ((held: Lock) => Effect.Effect<void>)?]>
  readonly invalid: fc.Arbitrary<unknown>
}> = {
  expiry: {
    valid: durations(3, 365 * day).map((
      [expiry, millis]
    ) => [expiry, (held) =>
      Effect.map(held.remaining, (remaining) => {
        const whole = Math.floor(millis)
        assert.approximately(Duration.toMillis(remaining), whole - (whole * 0.01 + 2), 0.001)
      })]
    ),
    invalid: fc.oneof(noDuration, fc.constantFrom(0, 0.5, 1, 2, "2 millis", 365 * day + 1, 2 ** 53, 1e300, 10n ** 30n))
  },
  nodeTimeout: {
    valid: durations(1, 3600 * 1000 - 1).map(([timeout]) => [timeout]),
    invalid: fc.oneof(noDuration, fc.constantFrom(0, 3600 * 1000 + 1, 2 ** 31, 2 ** 53, "1 day", 1e300))
  },
  autoExtend: {
    valid: fc.boolean().map((flag) => [flag]),
    invalid: fc.oneof(nonsense, fc.constantFrom(0, 1, "true"))
  },
  driftFactor: {
    valid: fc.double({ min: 0, max: 0.99, noNaN: true }).map((drift) => [drift]),
    invalid: fc.oneof(nonsense, fc.constantFrom(1, 1.5, -0.1, Infinity, 0n, 2 ** 53))
  },
  retry: {
    valid: fc.constantFrom(Schedule.recurs(0), Schedule.forever, retryPolicy(), Schedule.spaced("1 second"))
      .map((retry) => [retry]),
    invalid: fc.oneof(nonsense, fc.constantFrom(3, "1 second", { tries: 3 }))
  }
}

const program = (held: unknown) => Effect.succeed(held)

/** All that takes the options of one lock; each gives the lock it had. */
const verbs: Record<string, (options: LockOptions) => Verb> = {
  withLock: (options) => withLock("a", program, options),
  "withLock, piped": (options) => withLock("a", options)(Effect.void),
  withLockIfAvailable: (options) => withLockIfAvailable("a", program, options),
  "withLockIfAvailable, piped": (options) => withLockIfAvailable("a", options)(Effect.void),
  withLocks: (options) => withLocks(["a", "b"], program, options),
  "withLocks, piped": (options) => withLocks(new Set(["a", "b"]), options)(Effect.void),
  withFencedLock: (options) => withFencedLock("a", (token) => Effect.succeed(token), options),
  lock: (options) => lock("a", options),
  fencedLock: (options) => fencedLock("a", options),
  tryLock: (options) => tryLock("a", options),
  adopt: (options) => adopt("a", "a value", options),
  withFencedLockIfAvailable: (options) => withFencedLockIfAvailable("a", (token) => Effect.succeed(token), options),
  withFencedLocks: (options) => withFencedLocks(["a", "b"], (locks) => Effect.succeed(locks), options),
  "withFencedLocks, piped": (options) => withFencedLocks(["a", "b"], options)((locks) => Effect.succeed(locks)),
  tryFencedLock: (options) => tryFencedLock("a", options),
  withSharedLock: (options) => withSharedLock("a", program, options),
  "withSharedLock, piped": (options) => withSharedLock("a", options)(Effect.void),
  withSharedLockIfAvailable: (options) => withSharedLockIfAvailable("a", program, options),
  withFencedSharedLock: (options) => withFencedSharedLock("a", (token) => Effect.succeed(token), options),
  withFencedSharedLockIfAvailable: (options) =>
    withFencedSharedLockIfAvailable("a", (token) => Effect.succeed(token), options),
  sharedLock: (options) => sharedLock("a", options),
  trySharedLock: (options) => trySharedLock("a", options),
  fencedSharedLock: (options) => fencedSharedLock("a", options),
  tryFencedSharedLock: (options) => tryFencedSharedLock("a", options),
  "the method withLock": (options) => Redsync.Redsync.use((redsync) => redsync.withLock("a", program, options))
}

const message = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "it worked"
  const error = Cause.squash(exit.cause)
  return Cause.isIllegalArgumentError(error) ? error.message : `no refusal: ${Cause.pretty(exit.cause)}`
}

/** Refused with the name of the option, by a service whose nodes were asked nothing. */
const refuses = (option: string, verb: Verb, said = `the option ${option} `) =>
  Effect.gen(function*() {
    const nodes = yield* TestNodes.makeMany(3)
    const exit = yield* Effect.exit(Effect.provide(Effect.scoped(verb), Redsync.layer({ nodes })))
    assert.include(message(exit), said)
    assert.deepStrictEqual(nodes.flatMap(({ calls }) => calls), [])
  })

const refusesLayer = (option: string, layer: Layer.Layer<Redsync, unknown>) =>
  Effect.map(Effect.exit(Effect.provide(Redsync.health, layer)), (exit) => assert.include(message(exit), option))

/** A property whose body is an effect, on `TestClock` as every test is. */
const holds = <T>(
  what: string,
  arbitrary: fc.Arbitrary<T>,
  body: (value: T) => Effect.Effect<unknown, unknown>,
  numRuns = 200
) =>
  it.effect(what, () =>
    Effect.flatMap(Effect.context<never>(), (context) =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(arbitrary, (value) => Effect.runPromiseWith(context)(Effect.asVoid(body(value)))),
          { numRuns }
        )
      )))

const anyVerb = fc.constantFrom(...Object.keys(verbs))
const anyOption = fc.constantFrom(...Object.keys(ofLock))

describe("the options of a lock", () => {
  holds(
    "work in every verb, alone and together",
    fc.tuple(
      anyVerb.filter((verb) => verb !== "adopt"),
      fc.record(
        Object.fromEntries(Object.entries(ofLock).map(([key, { valid }]) => [key, valid])),
        { requiredKeys: [] }
      )
    ),
    ([verb, given]) => {
      const options = Object.fromEntries(Object.entries(given).map(([key, given]) => [key, given?.[0]]))
      // A large drift leaves nothing of a short lease, which is refused for what it is.
      if (options["driftFactor"] !== undefined) delete options["expiry"]
      return Effect.provide(Effect.scoped(verbs[verb]!(options as never)), Redsync.layerMemory({ count: 3 }))
    }
  )

  holds(
    "are taken for what they say",
    anyOption.chain((key) => fc.tuple(fc.constant(key), ofLock[key]!.valid)),
    ([key, [value, check]]) =>
      lock("a", { [key]: value }).pipe(
        Effect.flatMap((held) => check?.(held) ?? Effect.void),
        Effect.scoped,
        Effect.provide(Redsync.layerMemory({ count: 3 }))
      )
  )

  holds(
    "are refused by every verb, with their name, before any node is asked",
    fc.tuple(anyVerb, anyOption.chain((key) => fc.tuple(fc.constant(key), ofLock[key]!.invalid))),
    ([verb, [key, value]]) => refuses(key, verbs[verb]!({ [key]: value })),
    400
  )

  holds(
    "are refused by every layer too",
    fc.tuple(fc.nat(2), anyOption.chain((key) => fc.tuple(fc.constant(key), ofLock[key]!.invalid))),
    ([which, [key, value]]) => {
      const options = { [key]: value }
      const layers: ReadonlyArray<() => Layer.Layer<Redsync, unknown>> = [
        () => Redsync.layer({ nodes: [MemoryNode.make()], ...options }),
        () => Redsync.layerMemory({ count: 3, ...options }),
        () => Redsync.layerEnv({ nodes: [MemoryNode.make()], ...options })
      ]
      return which === 2
        ? Effect.map(Effect.flip(Effect.provide(Redsync.health, layers[which]!())), (error) => {
          assert.strictEqual((error as { _tag: string })._tag, "ConfigError")
          assert.include((error as Error).message, `the option ${key} `)
        })
        : refusesLayer(`the option ${key} `, layers[which]!())
    }
  )

  holds(
    "are objects, or nothing",
    fc.tuple(
      anyVerb,
      nonsense.filter((u) => typeof u !== "function" && !Effect.isEffect(u) && !isPlain(u))
    ),
    ([verb, options]) => refuses("options", verbs[verb]!(options as never), "the options are ")
  )

  holds(
    "that are misspelt are refused with what was meant",
    fc.tuple(anyVerb, anyOption.chain((key) => fc.tuple(fc.constant(key), misspelt(key)))),
    ([verb, [key, wrong]]) =>
      refuses(
        wrong,
        verbs[verb]!({ [wrong]: 1 }),
        `there is no option ${JSON.stringify(wrong)} here; did you mean ${key}?`
      )
  )

  holds("are refused when their getters throw", fc.tuple(anyVerb, anyOption), ([verb, key]) => {
    const options = Object.defineProperty({}, key, {
      enumerable: true,
      get() {
        throw new Error("no")
      }
    })
    return refuses(key, verbs[verb]!(options))
  })

  it.effect("are refused when they cannot be looked at", () =>
    Effect.gen(function*() {
      for (const value of unreadable) {
        for (const verb of Object.values(verbs)) {
          yield* refuses("options", verb(value as never), "the options are ")
          for (const key of Object.keys(ofLock)) {
            yield* refuses(key, verb({ [key]: value }))
          }
        }
        for (const key of ["nodes", "prefix", "quorum", "delayedRestart", "replicas"]) {
          const options = { nodes: [MemoryNode.make()], [key]: value } as ServiceOptions
          yield* refusesLayer(`the option ${key} `, Redsync.layer(options))
        }
        yield* refusesLayer("the option nodes", Redsync.layer({ nodes: [value as never] }))
      }
    }))

  it.effect("may come from another realm", () =>
    Effect.gen(function*() {
      const held = yield* lock("a", runInNewContext("({ expiry: 1000 })") as LockOptions)
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 1000 - 12)
      yield* lock("b", runInNewContext("({})") as LockOptions)
      const node = yield* IoredisNode.make(runInNewContext("({ host: '127.0.0.1', port: 1 })") as object)
      assert.strictEqual(node.id, "127.0.0.1:1")
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory())))

  it.effect("are looked at once: what was checked is what is used", () =>
    Effect.gen(function*() {
      let reads = 0
      const options = {
        get expiry() {
          return reads++ === 0 ? 1000 : Number.NaN
        }
      }
      const held = yield* lock("a", options)
      assert.strictEqual(Duration.toMillis(yield* held.remaining), 1000 - 12)
      assert.strictEqual(reads, 1)
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory())))

  it.effect("have a node timeout of 5 % of the expiry, at least 50 ms and at most a second", () =>
    Effect.gen(function*() {
      const { service } = yield* open({ nodes: [MemoryNode.make()] })
      const timeoutOf = (expiry: Duration.Input) => {
        const settings = service.settings({ expiry })
        return typeof settings === "string" ? settings : settings.nodeTimeoutMillis
      }
      assert.deepStrictEqual(["500 millis", "8 seconds", "5 minutes"].map((it) => timeoutOf(it as Duration.Input)), [
        50,
        400,
        1000
      ])
    }).pipe(Effect.scoped))
})

const isPlain = (u: unknown): boolean =>
  typeof u === "object" && u !== null && [Object.prototype, null].includes(Object.getPrototypeOf(u))

/** A word with one letter too many, too few or another. */
function misspelt(word: string): fc.Arbitrary<string> {
  return fc.tuple(fc.nat(word.length - 1), fc.nat(3)).map(([at, how]) =>
    how === 0
      ? word.slice(0, at) + word.slice(at + 1)
      : how === 1
      ? `${word.slice(0, at)}x${word.slice(at)}`
      : how === 2
      ? `${word.slice(0, at)}q${word.slice(at + 1)}`
      : word.toUpperCase()
  )
}

const tooLong = "x".repeat(4097)

describe("names and values", () => {
  const wrongNames: ReadonlyArray<unknown> = [
    "",
    null,
    undefined,
    7,
    {},
    ["a", "b"],
    ["a"],
    new Set(["a"]),
    Symbol("a"),
    new String("a"),
    "\ud800",
    "a\udc00b",
    tooLong,
    "é".repeat(2049),
    "redsync:1:line:{x}",
    "redsync:1:",
    "redsync:999:a",
    revoked()
  ]
  const ofName: Record<string, (name: never) => Verb> = {
    withLock: (name) => withLock(name, Effect.void),
    withLockIfAvailable: (name) => withLockIfAvailable(name, Effect.void),
    withFencedLock: (name) => withFencedLock(name, () => Effect.void),
    "withLock, piped": (name) => Effect.void.pipe(withLock(name)),
    lock: (name) => lock(name),
    fencedLock: (name) => fencedLock(name),
    tryLock: (name) => tryLock(name),
    adopt: (name) => adopt(name, "value"),
    unlock: (name) => unlock(name, "value"),
    inspect: (name) => inspect(name),
    forceUnlock: (name) => forceUnlock(name),
    withFencedLockIfAvailable: (name) => withFencedLockIfAvailable(name, () => Effect.void),
    tryFencedLock: (name) => tryFencedLock(name),
    withSharedLock: (name) => withSharedLock(name, Effect.void),
    withSharedLockIfAvailable: (name) => withSharedLockIfAvailable(name, Effect.void),
    withFencedSharedLock: (name) => withFencedSharedLock(name, () => Effect.void),
    withFencedSharedLockIfAvailable: (name) => withFencedSharedLockIfAvailable(name, () => Effect.void),
    sharedLock: (name) => sharedLock(name),
    trySharedLock: (name) => trySharedLock(name),
    fencedSharedLock: (name) => fencedSharedLock(name),
    tryFencedSharedLock: (name) => tryFencedSharedLock(name),
    adoptFenced: (name) => adoptFenced(name, "value"),
    "the method withLock": (name) => Redsync.Redsync.use((redsync) => redsync.withLock(name, Effect.void)),
    "the method inspect": (name) => Redsync.Redsync.use((redsync) => redsync.inspect(name))
  }

  it.effect.each(Object.keys(ofName))(
    "that cannot be are refused by %s",
    (verb) => Effect.forEach(wrongNames, (name) => refuses("name", ofName[verb]!(name as never)))
  )

  it.effect("are refused where several are given, and where several are none", () =>
    Effect.gen(function*() {
      for (const name of wrongNames) yield* refuses("name", withLocks(["a", name] as never, Effect.void))
      const none: ReadonlyArray<unknown> = [
        "abc",
        "",
        null,
        undefined,
        7,
        {},
        [],
        new Set(),
        new Map([["a", 1]]),
        revoked(),
        hostile
      ]
      for (const names of none) yield* refuses("names", withLocks(names as never, Effect.void))
    }))

  it.effect("are refused as values", () =>
    Effect.gen(function*() {
      for (const value of ["", null, undefined, 7, {}, ["v"], "\ud800", tooLong]) {
        yield* refuses("value", unlock("a", value as never))
        yield* refuses("value", adopt("a", value as never))
      }
    }))

  holds(
    "that can be are told apart",
    fc.uniqueArray(
      fc.oneof(
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 50 }),
        fc.constantFrom("redsync:x", "redsync:", "a b")
      ),
      { minLength: 1, maxLength: 5 }
    ),
    (names) =>
      withLocks(names, (locks) => Effect.sync(() => assert.deepStrictEqual(locks.map(({ name }) => name), names))).pipe(
        Effect.provide(Redsync.layerMemory())
      )
  )

  it.effect("may be as long as the longest", () =>
    Effect.provide(withLock("é".repeat(2048), Effect.void), Redsync.layerMemory()))
})

describe("the options of a layer", () => {
  /** No command is sent. */
  const redis = Layer.succeed(Redis.Redis, {} as Redis.Redis["Service"])

  const nodes = () => MemoryNode.makeMany(3)
  const ofLayer: Record<string, fc.Arbitrary<unknown>> = {
    nodes: fc.oneof(
      // ioredis options without any stand for a server on this machine.
      nonsense.filter((u) => !Array.isArray(u) || u.length === 0),
      fc.constantFrom(
        ["redis://a", "redis://a"],
        ["http://a"],
        [undefined],
        [null],
        [[]],
        [new Map()],
        [{ ...MemoryNode.make(), id: "" }],
        [{ ...MemoryNode.make(), id: 7 }],
        [{ ...MemoryNode.make(), extend: undefined }],
        [{ ...MemoryNode.make(), remove: 1 }],
        [{ ...MemoryNode.make(), fencing: {} }]
      )
    ),
    prefix: fc.oneof(nonsense.filter((u) => typeof u !== "string"), fc.constantFrom("\ud800", tooLong, "redsync:1:")),
    quorum: fc.oneof(nonsense, fc.constantFrom(0, 1, 4, 2.5, "2", Infinity, 2n)),
    delayedRestart: fc.oneof(noDuration, fc.constantFrom(0, 365 * day + 1, 2 ** 53, 1e300)),
    replicas: fc.oneof(nonsense, fc.constantFrom(0.5, 101, 2 ** 31, Infinity, "1", 1n))
  }

  holds(
    "are refused with their name, as a defect or a ConfigError",
    fc.tuple(
      fc.boolean(),
      fc.constantFrom(...Object.keys(ofLayer)).chain((key) => fc.tuple(fc.constant(key), ofLayer[key]!))
    ),
    ([fromConfig, [key, value]]) => {
      const options = { nodes: nodes(), [key]: value } as unknown as ServiceOptions
      return fromConfig
        ? Effect.map(
          Effect.flip(Effect.provide(Redsync.health, Redsync.layerEnv(options))),
          (error) => assert.match(error.message, new RegExp(`the option ${key}[ ,]`))
        )
        : refusesLayer(`the option ${key}`, Redsync.layer(options))
    },
    400
  )

  it.effect("are objects with nodes", () =>
    Effect.gen(function*() {
      for (
        const options of [
          undefined,
          null,
          7,
          "redis://a",
          [],
          ["redis://a"],
          () => 1,
          hostile,
          revoked(),
          new Map()
        ]
      ) {
        yield* refusesLayer("the options are ", Redsync.layer(options as ServiceOptions))
        yield* refusesLayer("the options are ", Redsync.layerConfig(options as never))
        if (options === undefined) continue
        yield* refusesLayer("the options are ", Redsync.layerMemory(options as object))
        yield* refusesLayer("the options are ", Layer.provide(Redsync.layerRedis(options as object), redis))
        yield* refusesLayer("the options are ", layerTest(options as object))
      }
      const given = { nodes: nodes() }
      yield* refusesLayer(`there is no option "nodes"`, Redsync.layerMemory(given as object))
      yield* refusesLayer(`there is no option "nodes"`, Layer.provide(Redsync.layerRedis(given as object), redis))
      yield* refusesLayer(`there is no option "nodes"`, layerTest(given as object))
      yield* refusesLayer("the option nodes ", Redsync.layer({} as ServiceOptions))
      for (const count of [0, -1, 1.5, Number.NaN, "3", 1e9, null]) {
        yield* refusesLayer("the option count ", Redsync.layerMemory({ count: count as number }))
      }
    }))

  it.effect("never show the password of a URL that is in the wrong place", () =>
    Effect.gen(function*() {
      const url = "redis://ada:hunter2@a"
      const masked = `"redis://***@a"`
      yield* refusesLayer(`the options are ${masked}`, Redsync.layer(url as unknown as ServiceOptions))
      yield* refusesLayer(`the options are ${masked}`, Redsync.layerConfig(url as never))
      yield* refusesLayer(`the options are ${masked}`, Redsync.layerMemory(url as never))
      yield* refusesLayer(`the option quorum is ${masked}`, Redsync.layerMemory({ quorum: url as never }))
      yield* refusesLayer(
        `entry 1, is ${masked}`,
        Redsync.layer<LockNode>({ nodes: [Effect.succeed(url) as never] })
      )
      assert.throws(() => IoredisNode.fromClient(url as never), `the option client is ${masked}`)
    }))

  it.effect("that are misspelt are refused with what was meant", () =>
    Effect.gen(function*() {
      const layer = (options: object) => Redsync.layer({ nodes: nodes(), ...options })
      yield* refusesLayer("did you mean quorum?", layer({ quorom: 2 }))
      yield* refusesLayer("did you mean delayedRestart?", layer({ delayRestart: 2 }))
      const overRedis = (options: object) =>
        Layer.provide(
          Redsync.layerRedis(options),
          Layer.succeed(Redis.Redis, {} as Redis.Redis["Service"])
        )
      yield* refusesLayer("did you mean quorum?", overRedis({ quorom: 1 }))
      yield* refusesLayer("did you mean", overRedis({ nodes: [MemoryNode.make()] }))
      yield* refusesLayer("the options are ", overRedis(null as never))
      yield* refusesLayer("the option expiry is 0", overRedis({ expiry: 0 }))
      yield* refusesLayer("did you mean", Redsync.layerMemory({ nodes: [] } as never))
      yield* refusesLayer("did you mean expiry?", Redsync.layerMemory({ count: 1, expiri: 2 } as never))
      yield* refuses("quorum", withLock("a", Effect.void, { quorum: 2 } as never), `there is no option "quorum" here`)
    }))

  it.effect("nodes over Effect's Redis service are refused where what they are over is none", () =>
    Effect.gen(function*() {
      const layerOf = (open: Effect.Effect<LockNode, never, Scope.Scope>) =>
        Redsync.layer<typeof open>({ nodes: [open] })
      const service = { send: () => Effect.never, eval: () => () => Effect.never } as never
      for (const none of [null, undefined, 7, "redis://ada:hunter2@a", {}, [], ...unreadable]) {
        const make = () => RedisNode.make(none as never)
        assert.throws(make, /^effect-redsync: the option redis is (?!.*hunter2)/)
        yield* refusesLayer("the option layer is ", layerOf(RedisNode.fromLayer("a", none as never)))
        if (none === undefined) continue
        assert.throws(
          () => RedisNode.make(service, { client: none as never }),
          /^effect-redsync: the option client is /
        )
      }
    }))

  it.effect("keep the nodes as they were when they were checked", () =>
    Effect.gen(function*() {
      const list = nodes()
      const layer = Redsync.layer({ nodes: list })
      list.length = 0
      assert.lengthOf((yield* Effect.provide(Redsync.health, layer)).nodes, 3)
    }))

  it.effect("round a delayed restart up to whole milliseconds", () =>
    Effect.gen(function*() {
      const asked: Array<number> = []
      const node = MemoryNode.make()
      const delayed = {
        ...node,
        delayedRestart: (millis: number) => {
          asked.push(millis)
          return node
        }
      }
      for (const delayedRestart of [0.5, 1.25, "1500 micros", 3] as const) {
        yield* Effect.provide(Redsync.health, Redsync.layer({ nodes: [delayed], delayedRestart }))
      }
      assert.deepStrictEqual(asked, [1, 2, 2, 3])
    }))
})

describe("ioredis options", () => {
  const wrong: ReadonlyArray<readonly [option: string, options: object]> = [
    ...[Number.NaN, "abc", "1", -1, 1.5, Infinity, null, {}].map((db) => ["db", { db }] as const),
    ...[0, -1, 65536, 1.5, Number.NaN, "6379", null].map((port) => ["port", { port }] as const),
    ...["", "a b", "hunter2@h", "redis://:hunter2@h", "h:1/2", 7, null, "a\nb"].map((host) =>
      ["host", { host }] as const
    ),
    ...["", "redis://:hunter2@h", "hunter2@h", 7].map((path) => ["path", { path }] as const),
    ...[[], "s:1", {}, [null], [7]].map((sentinels) => ["sentinels", { name: "main", sentinels }] as const),
    ["sentinels port", { name: "main", sentinels: [{ host: "s", port: "x" }] }],
    ["sentinels host", { name: "main", sentinels: [{ host: "hunter2@s" }] }],
    ["name", { sentinels: [{ host: "s" }] }],
    ["name", { name: "redis://:hunter2@h", sentinels: [{ host: "s" }] }],
    ["role", { role: "slave" }],
    ["password", { password: 7 }],
    ["tls", { tls: "yes" }],
    ["Connector", { Connector: () => null }],
    ["retryStrategy", { retryStrategy: 3 }],
    ["commandTimeout", { commandTimeout: 2 ** 31 }],
    ["connectTimeout", { connectTimeout: Number.NaN }],
    ["lazyConnect", { lazyConnect: "no" }],
    ["monitor", { monitor: true }],
    ["protocol", { protocol: 7 }],
    ["maxRetriesPerRequest", { maxRetriesPerRequest: -1 }]
  ]

  it.effect.each(wrong)(
    "that ioredis would take for something else are refused: %s %j",
    ([option, options]) =>
      Effect.gen(function*() {
        const made = message(yield* Effect.exit(Effect.scoped(IoredisNode.make(options))))
        const layered = message(
          yield* Effect.exit(Effect.provide(Redsync.health, Redsync.layer({ nodes: [IoredisNode.make(options)] })))
        )
        for (const text of [made, layered]) {
          assert.include(text, `the option ${option} `)
          assert.notInclude(text, "hunter2")
        }
      })
  )

  it.effect("that cannot be read are refused", () => {
    const unreadable = {
      get key() {
        throw new Error("hunter2")
      }
    }
    return Effect.gen(function*() {
      for (const option of ["tls", "sentinelTLS", "scripts"]) {
        const options = { [option]: unreadable }
        const made = message(yield* Effect.exit(Effect.scoped(IoredisNode.make(options))))
        assert.include(made, `the option ${option} `)
        assert.notInclude(made, "hunter2")
      }
    })
  })

  it.effect.each<object>([
    { scripts: { mine: {} } },
    { scripts: { mine: null } },
    { himportFieldsets: 7 },
    {
      Connector: function() {
        throw new Error("hunter2")
      },
      password: "hunter2"
    }
  ])("that ioredis throws at are refused", (options) =>
    Effect.gen(function*() {
      const made = message(yield* Effect.exit(Effect.scoped(IoredisNode.make(options))))
      assert.include(made, "effect-redsync: ioredis rejects the options of a node: ")
      assert.notInclude(made, "hunter2")
    }))

  it.effect("that are misspelt are refused with what was meant", () =>
    Effect.gen(function*() {
      const refusal = (options: object) => Effect.map(Effect.exit(Effect.scoped(IoredisNode.make(options))), message)
      assert.include(yield* refusal({ hots: "a" }), `there is no option "hots" here; did you mean host?`)
      assert.include(yield* refusal({ pasword: "hunter2" }), "did you mean password?")
      assert.include(yield* refusal({ hostname: "a" }), "did you mean host?")
    }))

  it.effect("may be all that ioredis has", () =>
    Effect.gen(function*() {
      const node = yield* IoredisNode.make({
        host: "127.0.0.1",
        port: 1,
        family: 4,
        db: 3,
        username: "ada",
        connectTimeout: 1000,
        commandTimeout: 500,
        keepAlive: 0,
        noDelay: true,
        keyPrefix: "p:",
        connectionName: "locks",
        retryStrategy: () => null,
        tls: {},
        stringNumbers: true
      })
      assert.strictEqual(node.id, "127.0.0.1:1/3")
      const sentinel = { host: "127.0.0.1", port: 1, of: "our own" }
      const watched = yield* IoredisNode.make({ name: "main", sentinels: [sentinel], role: "master", password: "pass" })
      assert.strictEqual(watched.id, "sentinel main at 127.0.0.1:1")
    }).pipe(Effect.scoped))
})

describe("what is no client, no lock and no token", () => {
  it("is no node", () => {
    for (const client of [undefined, null, 7, {}, "redis://a", hostile, revoked()]) {
      assert.throws(() => IoredisNode.fromClient(client as never), /the option client is /)
    }
  })

  it.effect("is not guarded", () =>
    Effect.forEach(
      [undefined, null, 7, {}],
      (held) =>
        Effect.map(Effect.exit(Lock.guard(held as never, Effect.void)), (exit) =>
          assert.include(message(exit), "the option lock is "))
    ))

  it.effect("opens no resource", () =>
    Effect.gen(function*() {
      const accept = yield* Fencing.guard
      yield* accept(Fencing.FencingToken.make(7))
      for (const token of [Number.NaN, Infinity, "8", 8.5, 2 ** 53, null, undefined, -1]) {
        assert.include(message(yield* Effect.exit(accept(token as never))), "the option token is ")
      }
      assert.isTrue(Exit.isFailure(yield* Effect.exit(accept(Fencing.FencingToken.make(6)))))
    }))
})

describe("retryPolicy", () => {
  const refusal = (options: unknown): string => {
    try {
      retryPolicy(options as never)
      return "it worked"
    } catch (error) {
      return Cause.isIllegalArgumentError(error) ? error.message : `no refusal: ${String(error)}`
    }
  }

  const ofPolicy: Record<string, fc.Arbitrary<unknown>> = {
    tries: fc.oneof(nonsense, fc.constantFrom(0, -1, 1.5, Number.NaN, -Infinity, "3", 2n)),
    delay: noDuration.filter((u) => u !== Infinity && u !== "Infinity" && u !== Duration.infinity),
    within: noDuration.filter((u) => u !== Infinity && u !== "Infinity" && u !== Duration.infinity)
  }

  it("refuses what is not allowed, with its name", () => {
    const options = fc.constantFrom(...Object.keys(ofPolicy)).chain((key) => fc.tuple(fc.constant(key), ofPolicy[key]!))
    fc.assert(fc.property(options, ([key, value]) => {
      assert.include(refusal({ [key]: value }), `the option ${key} `)
    }))
    for (const options of [null, 7, "x", [], () => 1, hostile]) assert.include(refusal(options), "the options are ")
    assert.include(refusal({ trys: 3 }), "did you mean tries?")
  })
})

describe("a schedule that throws", () => {
  it.effect("is a defect of that program alone, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const held = yield* lock("a")
      const broken = Schedule.while(Schedule.forever, () => {
        throw new Error("broken schedule")
      })
      const exit = yield* Effect.exit(withLock("a", Effect.void, { retry: broken }))
      assert.isTrue(Exit.hasDies(exit))
      yield* held.release
      assert.isTrue(Option.isSome(yield* withLockIfAvailable("a", Effect.void)))
      assert.isTrue((yield* inspect("a")).nodes.every((node) => node._tag === "Free"))
    }).pipe(Effect.scoped, Effect.provide(Redsync.layerMemory({ count: 3 }))))
})

describe("configuration", () => {
  const failure = (env: Record<string, string>) =>
    Effect.provide(Redsync.health, Redsync.layerEnv()).pipe(
      Effect.provide(
        ConfigProvider.layer(
          ConfigProvider.fromEnv({ env: { REDSYNC_NODES: "redis://127.0.0.1:1,redis://127.0.0.1:2", ...env } })
        )
      ),
      Effect.flip,
      Effect.map(({ message }) => message)
    )

  const wrong = {
    REDSYNC_NODES: ["", ",", "http://a", "redis://:hunter2@a:x", "redis://a,redis://a"],
    REDSYNC_QUORUM: ["x", "1.5", "NaN", "0", "3", "-1", "1e9", "0x2"],
    REDSYNC_EXPIRY: ["x", "NaN", "Infinity", "-5 seconds", "0", "1e400 seconds", "400 days", "5 parsecs"],
    REDSYNC_NODE_TIMEOUT: ["x", "0", "Infinity", "2h", "-1s"],
    REDSYNC_DRIFT_FACTOR: ["x", "1", "-0.1", "NaN", "Infinity"],
    REDSYNC_DELAYED_RESTART: ["x", "0", "400 days"],
    REDSYNC_REPLICAS: ["x", "-1", "0.5", "101", "1e3"]
  }

  it.effect("tells what is missing, and which entry is wrong", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.provide(Redsync.health, Redsync.layerEnv()).pipe(
        Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: {} }))),
        Effect.flip
      )
      assert.include(missing.message, "REDSYNC_NODES is not set; expected redis://a:6379,redis://b:6379")
      assert.include(yield* failure({ REDSYNC_NODES: " , " }), "REDSYNC_NODES names no node; expected redis://a:6379")
      assert.include(
        yield* failure({ REDSYNC_NODES: "redis://a:6379,redis://b:6379/x" }),
        `effect-redsync: REDSYNC_NODES, entry 2, is "redis://b:6379/x"; it must be like`
      )
      assert.include(
        yield* failure({ REDSYNC_NODES: "localhost:6379" }),
        `effect-redsync: REDSYNC_NODES, entry 1, is "localhost:6379"; it has no scheme; write "redis://localhost:6379".`
      )
    }))

  const configured = (options: Parameters<typeof Redsync.layerConfig>[0], defaults?: LockOptions) =>
    Effect.provide(
      Effect.all({ topology: Redsync.topology, held: Effect.scoped(Effect.flip(lock("a", { retry: once }))) }),
      Redsync.layerConfig(options, defaults)
    ).pipe(
      Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnv({
        env: { A: "redis://ada:hunter2@127.0.0.1:1", B: "redis://127.0.0.1:2", Q: "2", T: "60 millis", BAD: "no url" }
      })))
    )
  const once = retryPolicy({ tries: 1 })
  const urls = Config.all([Config.Redacted("A"), Config.String("B")])

  it.live("of one's own is each option as a Config, or all of them as one", () =>
    Effect.gen(function*() {
      const all = { nodes: urls, quorum: Config.Int("Q"), nodeTimeout: Config.Duration("T") }
      const { held, topology } = yield* configured(all, { expiry: "1 minute", retry: Schedule.recurs(0) })
      assert.deepStrictEqual(topology, { nodes: ["127.0.0.1:1", "127.0.0.1:2"], quorum: 2, prefix: "" })
      assert.strictEqual(held._tag, "NodesUnavailable")
      const whole = yield* configured(Config.succeed({ nodes: ["redis://127.0.0.1:1"], prefix: "app:" }))
      assert.deepStrictEqual(whole.topology, { nodes: ["127.0.0.1:1"], quorum: 1, prefix: "app:" })
    }))

  it.effect("of one's own fails with a ConfigError where a value is missing or not allowed", () =>
    Effect.gen(function*() {
      const bad: ReadonlyArray<readonly [said: string, options: Parameters<typeof Redsync.layerConfig>[0]]> = [
        ["NOWHERE", { nodes: Config.all([Config.String("NOWHERE")]) }],
        ["the option nodes, entry 1, is ", { nodes: Config.all([Config.Redacted("BAD")]) }],
        ["the option quorum is 1", { nodes: urls, quorum: Config.succeed(1) }],
        ["the option nodes has 127.0.0.1:1 twice", { nodes: Config.all([Config.String("A"), Config.String("A")]) }]
      ]
      for (const [said, options] of bad) {
        const error = yield* Effect.flip(configured(options))
        assert.instanceOf(error, Config.ConfigError)
        assert.include(error.message, said)
        assert.notInclude(error.message, "hunter2")
      }
    }))

  it.effect("of one's own fails with the name of an option that does not exist", () =>
    Effect.gen(function*() {
      const refused = (options: object, defaults = {}) =>
        Effect.map(Effect.flip(configured({ nodes: urls, ...options }, defaults)), (error) => {
          assert.instanceOf(error, Config.ConfigError)
          return error.message
        })
      assert.include(yield* refused({ quorom: Config.succeed(2) }), "did you mean quorum?")
      assert.include(yield* refused({ retry: Config.succeed(2) }), `there is no option "retry" here`)
      assert.include(yield* refused({}, { quorum: 2 }), `there is no option "quorum" here`)
    }))

  it.effect("of one's own fails with the name of an option that is no Config", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [option: string, value: unknown]> = [
        ["nodes", ["redis://a"]],
        ["nodes", [Config.String("A")]],
        ["expiry", "1 hour"],
        ["quorum", 2]
      ]
      for (const [option, value] of wrong) {
        const died = message(yield* Effect.exit(configured({ nodes: urls, [option]: value })))
        assert.match(died, new RegExp(`the option ${option} is .*; it must be a Config`))
      }
    }))

  it.effect("of one's own leaves the default where it has no value", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(configured({ nodes: urls, expiry: Config.succeed(undefined) }, { expiry: 1 }))
      assert.include(message(exit), "the option expiry is 1;")
    }))

  it.effect.each(Object.entries(wrong))(
    "fails with a ConfigError that names what is wrong: %s",
    ([name, values]) =>
      Effect.forEach(values, (value) =>
        Effect.map(failure({ [name]: value }), (message) => {
          const option = name.slice("REDSYNC_".length).toLowerCase().replace(
            /_(.)/g,
            (_, letter: string) => letter.toUpperCase()
          )
          assert.isTrue(message.includes(name) || message.includes(`the option ${option} `), message)
          assert.notInclude(message, "hunter2")
        }))
  )
})
