/**
 * What will go wrong in a chaos run, and when: a function of the seed.
 *
 * At no time is more than a minority of the nodes in trouble, a server that came
 * back empty included for as long as it abstains. Rolling restarts are the one
 * exception: they empty a quorum one after the other.
 */
import { Effect, Random } from "effect"

export const nodeKinds = [
  "server SIGSTOP",
  "server SIGKILL, restart",
  "CLIENT PAUSE",
  "maxmemory reached",
  "REPLICAOF",
  "connections cut",
  "connections half-open: requests lost",
  "connections half-open: replies lost",
  "connections slow"
] as const

/** These are over at once. */
export const instantKinds = ["CLIENT KILL", "SCRIPT FLUSH"] as const

export const clientKinds = ["client SIGKILL", "client SIGSTOP"] as const

export type NodeKind = typeof nodeKinds[number]
export type InstantKind = typeof instantKinds[number]
export type ClientKind = typeof clientKinds[number]

export type Fault =
  | {
    readonly at: number
    readonly kind: NodeKind
    readonly node: number
    /** The one client whose connections are meant; all clients' where it is not given. */
    readonly client?: number
    readonly millis: number
    /** How much longer everything takes each way, of slow connections. */
    readonly delay?: number
  }
  | { readonly at: number; readonly kind: InstantKind; readonly node: number; readonly millis: number }
  | { readonly at: number; readonly kind: ClientKind; readonly client: number; readonly millis: number }
  | {
    readonly at: number
    readonly kind: "rolling restart"
    readonly nodes: ReadonlyArray<number>
    readonly millis: number
  }

export interface PlanOptions {
  readonly seed: string
  readonly millis: number
  /** On average from the beginning of one fault to that of the next. */
  readonly gapMillis: number
  readonly expiryMillis: number
  readonly nodes: number
  readonly clients: number
  readonly clientPauses: boolean
  /** The nodes that every rolling restart empties. None without rolling restarts. */
  readonly rolling: ReadonlyArray<number>
  /** For how long a server that was started again does not vote. */
  readonly abstainMillis: number
}

export const plan = (options: PlanOptions): Effect.Effect<Array<Fault>> =>
  Random.withSeed(generate(options), options.seed)

/** Kept free between two faults of one node, for its connections to come back. */
const recovery = 500

const generate = Effect.fnUntraced(function*(options: PlanOptions) {
  const { clients, expiryMillis, gapMillis, millis, nodes } = options
  const faults: Array<Fault> = []
  const nodeFree = Array.from({ length: nodes }, () => 0)
  const clientFree = Array.from({ length: clients }, () => 0)
  const minority = Math.ceil(nodes / 2) - 1
  const rollingEvery = 2 * expiryMillis + options.abstainMillis
  let nextRolling = options.rolling.length === 0 ? Number.POSITIVE_INFINITY : expiryMillis

  const onClient = function*(at: number, kind: ClientKind) {
    const free = indicesFree(clientFree, at)
    // Most of them go on.
    if (free.length <= clients / 2) return
    const client = yield* pick(free)
    const took = kind === "client SIGKILL" ? yield* between(0, 500) : yield* between(200, expiryMillis * 2)
    if (at + took > millis) return
    clientFree[client] = at + took + expiryMillis
    faults.push({ at, kind, client, millis: took })
  }

  const onNode = function*(at: number, kind: NodeKind | InstantKind) {
    const free = indicesFree(nodeFree, at)
    if (nodes - free.length >= minority) return
    const node = yield* pick(free)
    if (kind === "CLIENT KILL" || kind === "SCRIPT FLUSH") return void faults.push({ at, kind, node, millis: 0 })
    const took = yield* between(100, expiryMillis * 1.5)
    const abstains = kind === "server SIGKILL, restart" ? options.abstainMillis : 0
    const until = at + took + abstains + recovery
    if (until > Math.min(millis, nextRolling)) return
    nodeFree[node] = until
    if (!kind.startsWith("connections")) return void faults.push({ at, kind, node, millis: took })
    const everybody = (yield* Random.next) < 0.5
    const client = yield* between(0, clients)
    const delay = yield* pick([5, 30, 100, 300, expiryMillis])
    faults.push({
      at,
      kind,
      node,
      millis: took,
      ...everybody ? {} : { client },
      ...kind === "connections slow" ? { delay } : {}
    })
  }

  const kinds = [...nodeKinds, ...nodeKinds, ...instantKinds, ...clientKinds]
    .filter((kind) => options.clientPauses || kind !== "client SIGSTOP")
  for (let at = gapMillis;; at += yield* between(gapMillis / 2, gapMillis * 1.5)) {
    if (at >= nextRolling) {
      const took = yield* between(0, 200)
      faults.push({ at, kind: "rolling restart", nodes: options.rolling, millis: took })
      for (const node of options.rolling) nodeFree[node] = at + took + options.abstainMillis + recovery
      nextRolling = at + rollingEvery
    }
    if (at >= millis) return faults
    const kind = yield* pick(kinds)
    if (kind === "client SIGKILL" || kind === "client SIGSTOP") yield* onClient(at, kind)
    else yield* onNode(at, kind)
  }
})

const indicesFree = (free: ReadonlyArray<number>, at: number) =>
  free.flatMap((until, index) => until <= at ? [index] : [])

/** A whole number from `min` up to, not including, `max`. */
const between = (min: number, max: number) =>
  Effect.map(Random.next, (random) => Math.floor(min + random * (max - min)))

const pick = <A>(from: ReadonlyArray<A>) => Effect.map(Random.next, (random) => from[Math.floor(random * from.length)]!)

/** What is said when it begins. */
export const describe = (fault: Fault): string => {
  const seconds = (millis: number) => `${(millis / 1000).toFixed(1)} s`
  switch (fault.kind) {
    case "rolling restart":
      return `nodes ${fault.nodes.join(", ")}: ${fault.kind}`
    case "client SIGKILL":
    case "client SIGSTOP":
      return `client ${fault.client}: ${fault.kind.slice("client ".length)} for ${seconds(fault.millis)}`
    case "CLIENT KILL":
    case "SCRIPT FLUSH":
      return `node ${fault.node}: ${fault.kind}`
    default: {
      const whose = fault.client === undefined ? "" : ` of client ${fault.client}`
      const slower = fault.delay === undefined ? "" : ` by ${fault.delay} ms each way`
      return `node ${fault.node}: ${fault.kind}${whose}${slower} for ${seconds(fault.millis)}`
    }
  }
}
