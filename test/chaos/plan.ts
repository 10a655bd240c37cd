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
export const instantKinds = [
  "CLIENT KILL",
  "SCRIPT FLUSH",
  "subscriptions cut on all nodes",
  "waiting lists deleted",
  "waiting lists garbled"
] as const

export const clientKinds = ["client SIGKILL", "client SIGSTOP"] as const

export type NodeKind = typeof nodeKinds[number]
export type InstantKind = typeof instantKinds[number]
export type ClientKind = typeof clientKinds[number]

interface Common {
  /** When it begins, in milliseconds from the beginning. */
  readonly at: number
  /** How long it lasts. */
  readonly millis: number
}

interface OnNodes extends Common {
  /** How long it takes after that until all is well again. */
  readonly recoveryMillis: number
}

export type Fault =
  | OnNodes & {
    readonly kind: NodeKind
    readonly node: number
    /** The one client whose connections are meant; all clients' where it is not given. */
    readonly client?: number
    /** How much longer everything takes each way, of slow connections. */
    readonly delay?: number
  }
  | OnNodes & { readonly kind: "rolling restart"; readonly nodes: ReadonlyArray<number> }
  | Common & { readonly kind: InstantKind; readonly node: number }
  | Common & { readonly kind: ClientKind; readonly client: number }

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

export const minorityOf = (nodes: number): number => Math.ceil(nodes / 2) - 1

export const plan = (options: PlanOptions): Effect.Effect<Array<Fault>> =>
  Random.withSeed(
    Effect.gen(function*() {
      const { gapMillis, millis, rolling } = options
      const faults: Array<Fault> = []
      const room = new Room(options)
      let at = gapMillis
      for (; at < millis; at += yield* between(gapMillis / 2, gapMillis * 1.5)) {
        const fault = at >= room.nextRolling ? yield* rollingRestart(room, at, rolling) : yield* next(room, at)
        if (fault !== undefined) faults.push(fault)
      }
      return faults
    }),
    options.seed
  )

/** For the connections to come back. */
const reconnectMillis = 300

/** Who is free for another fault, and from when. */
class Room {
  readonly options: PlanOptions
  readonly nodes: Array<number>
  readonly clients: Array<number>
  nextRolling: number

  constructor(options: PlanOptions) {
    this.options = options
    this.nodes = Array.from({ length: options.nodes }, () => 0)
    this.clients = Array.from({ length: options.clients }, () => 0)
    this.nextRolling = options.rolling.length === 0 ? Number.POSITIVE_INFINITY : options.expiryMillis
  }
}

/** A fault of any kind for which there is room, if it is found soon. */
const next = Effect.fnUntraced(function*(room: Room, at: number) {
  const kinds = [...nodeKinds, ...nodeKinds, ...instantKinds, ...clientKinds]
    .filter((kind) => room.options.clientPauses || kind !== "client SIGSTOP")
  for (let tries = 0; tries < 10; tries++) {
    const kind = (yield* pick(kinds))!
    const fault = isClientKind(kind) ? yield* onClient(room, at, kind) : yield* onNode(room, at, kind)
    if (fault !== undefined) return fault
  }
  return undefined
})

const isClientKind = (kind: NodeKind | InstantKind | ClientKind): kind is ClientKind =>
  clientKinds.some((one) => one === kind)

const isInstantKind = (kind: NodeKind | InstantKind): kind is InstantKind => instantKinds.some((one) => one === kind)

const onClient = Effect.fnUntraced(function*(room: Room, at: number, kind: ClientKind) {
  const { clients, expiryMillis, millis } = room.options
  const free = freeAt(room.clients, at)
  const client = yield* pick(free)
  const took = kind === "client SIGKILL" ? yield* between(0, 500) : yield* between(200, expiryMillis * 2)
  // Most of them go on.
  if (client === undefined || free.length <= clients / 2 || at + took > millis) return undefined
  room.clients[client] = at + took + expiryMillis
  return { at, kind, client, millis: took } satisfies Fault
})

const onNode = Effect.fnUntraced(function*(room: Room, at: number, kind: NodeKind | InstantKind) {
  const { abstainMillis, clients, expiryMillis, millis, nodes } = room.options
  const free = freeAt(room.nodes, at)
  const node = yield* pick(free)
  if (node === undefined) return undefined
  if (isInstantKind(kind)) return { at, kind, node, millis: 0 } satisfies Fault
  const took = yield* between(100, expiryMillis * 1.5)
  const recoveryMillis = reconnectMillis + (kind === "server SIGKILL, restart" ? abstainMillis : 0)
  const until = at + took + recoveryMillis
  if (nodes - free.length >= minorityOf(nodes) || until > Math.min(millis, room.nextRolling)) return undefined
  room.nodes[node] = until
  const fault = { at, kind, node, millis: took, recoveryMillis }
  if (!kind.startsWith("connections")) return fault satisfies Fault
  const ofOne = (yield* Random.next) < 0.5
  const client = yield* between(0, clients)
  const delay = yield* pick([5, 30, 100, 300, expiryMillis])
  return { ...fault, ...ofOne && { client }, ...kind === "connections slow" && { delay: delay! } } satisfies Fault
})

const rollingRestart = Effect.fnUntraced(function*(room: Room, at: number, nodes: ReadonlyArray<number>) {
  const { abstainMillis, expiryMillis } = room.options
  const millis = yield* between(0, 200)
  const recoveryMillis = reconnectMillis + abstainMillis
  for (const node of nodes) room.nodes[node] = at + millis + recoveryMillis
  room.nextRolling = at + millis + recoveryMillis + 2 * expiryMillis
  return { at, kind: "rolling restart", nodes, millis, recoveryMillis } satisfies Fault
})

const freeAt = (from: ReadonlyArray<number>, at: number) => from.flatMap((time, index) => time <= at ? [index] : [])

/** A whole number from `min` up to, not including, `max`. */
const between = (min: number, max: number) =>
  Effect.map(Random.next, (random) => Math.floor(min + random * (max - min)))

const pick = <A>(from: ReadonlyArray<A>) => Effect.map(Random.next, (random) => from[Math.floor(random * from.length)])

/** What is said when it begins. */
export const describe = (fault: Fault): string => {
  const seconds = (millis: number) => `${(millis / 1000).toFixed(1)} s`
  switch (fault.kind) {
    case "rolling restart":
      return `nodes ${fault.nodes.join(", ")}: ${fault.kind}`
    case "client SIGKILL":
    case "client SIGSTOP":
      return `client ${fault.client}: ${fault.kind.slice("client ".length)} for ${seconds(fault.millis)}`
    default: {
      if (!("recoveryMillis" in fault)) return `node ${fault.node}: ${fault.kind}`
      const whose = fault.client === undefined ? "" : ` of client ${fault.client}`
      const slower = fault.delay === undefined ? "" : ` by ${fault.delay} ms each way`
      return `node ${fault.node}: ${fault.kind}${whose}${slower} for ${seconds(fault.millis)}`
    }
  }
}
