/**
 * Instances of a program in processes of their own, which are killed, stopped and
 * closed at random: elections, and a job that runs every second. Returns what the
 * resource saw, and fails if two have led by one token, a run has happened twice, or
 * one has not happened and nothing says why.
 */
import { assert } from "@effect/vitest"
import { Effect, Random } from "effect"
import { companionKey } from "../../src/internal/redis/keys.ts"
import { onEach, until } from "./faults.ts"
import { type RedisServer, startServer } from "./servers/RedisServers.ts"
import { type Child, child, nodesFor, type Three } from "./trouble.ts"

interface Instance {
  readonly id: string
  readonly process: Child
}

/** Starts instances over the servers, each with an id of its own. */
const starter = (servers: Three, resource: RedisServer, options: object) => {
  let started = 0
  return (own: object = {}) =>
    Effect.suspend(() => {
      const id = `${++started}`
      const all = { ...nodesFor(servers), resource: resource.url, ahead: 0, ...options, ...own, id }
      return Effect.map(child("instance", all), (process): Instance => ({ id, process }))
    })
}

const listOf = (resource: RedisServer, list: string) =>
  Effect.map(
    resource.command<Array<string>>("LRANGE", list, "0", "-1"),
    (lines) => lines.map((line) => line.split(" "))
  )

const one = <A>(values: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, values.length - 1), (index) => values[index]!)

// -----------------------------------------------------------------------------
// elections
// -----------------------------------------------------------------------------

/** What happens to the leader or its servers; afterwards another one leads, or the same again. */
const events = [
  "the leader is killed",
  "the leader is closed",
  "the leader is stopped",
  "a candidate is killed",
  "two servers are stopped"
] as const

export interface Term {
  readonly token: number
  readonly id: string
  readonly from: number
  readonly to: number
  /** What ended it. */
  readonly event: string
}

/**
 * Three candidates, until `goesOn` says so. In a term one instance writes with one
 * token; returns the terms, and how many writes of former leaders were rejected.
 */
export const elections = Effect.fnUntraced(function*(
  servers: Three,
  options: { readonly expiry: number; readonly goesOn: (terms: number) => boolean }
) {
  const resource = yield* startServer()
  const start = starter(servers, resource, { does: "lead", expiry: options.expiry, clockSkew: 1000 })
  const instances = yield* Effect.all([start(), start(), start()])
  const writes = resource.command<number>("LLEN", "writes")
  const last = Effect.map(listOf(resource, "writes"), (all) => ({ token: all.at(-1)![0]!, id: all.at(-1)![1]! }))
  const written = Effect.flatMap(
    writes,
    (before) => until("there is a leader", Effect.map(writes, (now) => now > before))
  )
  /** What ended the term of each token. */
  const ended = new Map<string, string>()

  const replace = Effect.fnUntraced(function*(instance: Instance) {
    instances.splice(instances.indexOf(instance), 1, yield* start())
  })

  while (true) {
    yield* written
    if (!options.goesOn(ended.size)) break
    const { id, token } = yield* last
    const leader = instances.find((instance) => instance.id === id)!
    const event = yield* one(events)
    const another = until("another one leads", Effect.map(last, (now) => now.token !== token))
    if (event === "a candidate is killed") {
      const candidate = yield* one(instances.filter((instance) => instance !== leader))
      yield* candidate.process.signal("SIGKILL")
      yield* replace(candidate)
      continue
    }
    // Who is still starting cannot follow.
    yield* Effect.forEach(instances, ({ process }) => process.hear("started"))
    ended.set(token, event)
    if (event === "the leader is killed") {
      yield* leader.process.signal("SIGKILL")
      yield* replace(leader)
      yield* another
    } else if (event === "the leader is closed") {
      yield* leader.process.tell("close")
      yield* another
      yield* leader.process.exited
      yield* replace(leader)
    } else if (event === "the leader is stopped") {
      yield* leader.process.signal("SIGSTOP")
      yield* another
      yield* leader.process.signal("SIGCONT")
    } else {
      const [a, b] = servers
      yield* Effect.all([a.stop, b.stop])
      const before = yield* writes
      yield* until(
        "nobody leads",
        Effect.gen(function*() {
          const now = yield* writes
          yield* Effect.sleep(options.expiry)
          return now > before && (yield* writes) === now
        })
      )
      yield* Effect.all([a.resume, b.resume])
    }
  }
  yield* Effect.forEach(instances, ({ process }) => process.tell("close"))
  yield* Effect.forEach(instances, ({ process }) => process.exited)

  const terms: Array<Term> = []
  for (const [token, id, at] of yield* listOf(resource, "writes")) {
    const term = terms.at(-1)
    if (term?.token === Number(token)) {
      assert.strictEqual(term.id, id, `two write with token ${token}`)
      terms[terms.length - 1] = { ...term, to: Number(at) }
    } else {
      const event = ended.get(token!) ?? "the end"
      terms.push({ token: Number(token), id: id!, from: Number(at), to: Number(at), event })
    }
  }
  const tokens = terms.map(({ token }) => token)
  assert.deepStrictEqual(tokens, [...new Set(tokens)].sort((a, b) => a - b))
  return { terms, rejected: (yield* listOf(resource, "rejected")).length }
})

/** The counters of tokens stay for an hour, and a line in which killed processes stand for a minute. */
export const forgetTokens = (servers: Three) =>
  onEach(servers, (server) => server.command("DEL", companionKey("fencing", "leader"), companionKey("line", "leader")))

/** The times without a leader after each kind of event, in milliseconds. */
export const gapsOf = (terms: ReadonlyArray<Term>): ReadonlyMap<string, ReadonlyArray<number>> => {
  const gaps = new Map<string, Array<number>>()
  terms.slice(1).forEach(({ from }, index) => {
    const { event, to } = terms[index]!
    gaps.set(event, [...gaps.get(event) ?? [], from - to])
  })
  return new Map([...gaps].map(([event, all]) => [event, all.sort((a, b) => a - b)]))
}

// -----------------------------------------------------------------------------
// a job that runs every second
// -----------------------------------------------------------------------------

const skew = 3000

/** So much ahead are the clocks of the instances. */
const clocks = [-1500, -700, 0, 800, 1500]

/** Five instances, until so many runs have begun. Returns what became of the runs from the first one to the last. */
export const jobs = Effect.fnUntraced(
  function*(servers: Three, options: { readonly expiry: number; readonly runs: number }) {
    const resource = yield* startServer()
    const start = starter(servers, resource, { does: "cron", expiry: options.expiry, clockSkew: skew })
    const all: Array<Instance> = []
    /** The instances that were killed, and when by their own clocks. */
    const killed = new Map<string, number>()
    const begin = (ahead: number) => Effect.tap(start({ ahead }), (instance) => Effect.sync(() => all.push(instance)))
    const instances = yield* Effect.forEach(clocks, begin)

    /** The values that claims of each run have had. */
    const claims = new Map<string, Set<string>>()
    const lookAtClaims = Effect.forEach(
      servers,
      Effect.fnUntraced(function*(server) {
        const keys = yield* server.command<Array<string>>("KEYS", "job@*")
        for (const key of keys) {
          const value = yield* server.command<string | null>("GET", key)
          const run = key.slice("job@".length)
          if (value !== null) claims.set(run, (claims.get(run) ?? new Set()).add(value))
        }
      }),
      { discard: true }
    )
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(lookAtClaims, Effect.sleep("200 millis"))))

    const starts = listOf(resource, "starts")
    while ((yield* starts).length < options.runs) {
      yield* Effect.sleep(yield* Random.nextIntBetween(300, 2000))
      const index = yield* Random.nextIntBetween(0, clocks.length - 1)
      const instance = instances[index]!
      // On a busy machine it takes longer to start than others live: none would get to run anything.
      yield* instance.process.hear("since ")
      killed.set(instance.id, Date.now() + clocks[index]!)
      yield* instance.process.signal("SIGKILL")
      instances[index] = yield* begin(clocks[index]!)
    }
    yield* Effect.forEach(instances, ({ process }) => process.tell("close"))
    yield* Effect.forEach(instances, ({ process }) => process.exited)
    yield* lookAtClaims

    const began = yield* starts
    const ended = new Map((yield* listOf(resource, "ends")).map(([run, id]) => [run!, id!]))
    const ids = new Map<string, string>()
    for (const [run, id] of began) {
      assert.isFalse(ids.has(run!), `${run} has run on ${ids.get(run!)} and on ${id}`)
      ids.set(run!, id!)
    }

    const said = all.flatMap(({ process }) => process.lines)
    const serviceOf = new Map(
      all.flatMap(({ id, process: { lines } }) =>
        lines.filter((line) => line.startsWith("service ")).map((line) => [line.slice("service ".length), id] as const)
      )
    )
    const says = (run: string, what: RegExp) => said.some((line) => line.includes(run) && what.test(line))
    const becameOf = (run: string): string | undefined => {
      const id = ids.get(run)
      if (id !== undefined) {
        return ended.has(run)
          ? "ran"
          : killed.has(id)
          ? "was broken off by a kill"
          : says(run, /not be repeated|interrupted/)
          ? "was broken off"
          : undefined
      }
      if (says(run, /is skipped/)) return "was left out while another was going on"
      if (says(run, /not be repeated|interrupted/)) return "was broken off before it began"
      const claimants = [...claims.get(run) ?? []].map((value) => serviceOf.get(value.slice(0, 12)))
      if (claimants.some((id) => id !== undefined && killed.has(id))) return "was claimed by one that was killed"
      if (says(run, /could not be claimed/)) return "could not be claimed"
      return livedOn(Date.parse(run)) ? undefined : "came while nobody was there who lived on"
    }
    /** Whether an instance was there at that time of its clock, and went on for long enough to notice. */
    const livedOn = (at: number) =>
      all.some(({ id, process: { lines } }) => {
        const since = lines.find((line) => line.startsWith("since "))
        return since !== undefined && Number(since.slice("since ".length)) < at &&
          (killed.get(id) ?? Infinity) > at + skew
      })

    const times = [...ids.keys()].map((run) => Date.parse(run))
    const outcomes: Record<string, number> = {}
    for (let at = Math.min(...times); at <= Math.max(...times); at += 1000) {
      const run = new Date(at).toISOString()
      const outcome = becameOf(run)
      assert.isDefined(
        outcome,
        `nothing says what became of ${run}; ${JSON.stringify([...claims.get(run) ?? []])}, ${said.join("\n")}`
      )
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    }
    return { outcomes, kills: killed.size }
  }
)
