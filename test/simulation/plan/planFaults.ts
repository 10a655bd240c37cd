/**
 * What goes wrong in a history, and when.
 */
import type { Chance } from "../world/chance.ts"
import type { Foreign, Loss } from "../world/server.ts"
import type { Kind, Theme } from "./plan.ts"

/** Processes and servers by their place in the plan; all of them where none is given. */
interface Between {
  readonly process: number | undefined
  readonly server: number | undefined
}

export type Fault =
  & { readonly at: number }
  & (
    | { readonly _tag: "Partition"; readonly lost: "requests" | "replies" | "refusing"; readonly millis: number }
      & Between
    | { readonly _tag: "Break" } & Between
    | {
      readonly _tag: "ServerCrash"
      readonly server: number
      readonly millis: number
      readonly loss: Loss
      /** Whether connections break at once, as when only the server process dies. */
      readonly noticed: boolean
    }
    | { readonly _tag: "ServerPause"; readonly server: number; readonly millis: number }
    | { readonly _tag: "HoldUp"; readonly millis: number } & Between
    | { readonly _tag: "FailOver"; readonly server: number }
    /** Somebody else keeps something under the name of a lock, or deletes what is there: on some servers. */
    | {
      readonly _tag: "Foreign"
      readonly servers: ReadonlyArray<number>
      readonly name: string
      readonly foreign: Foreign | undefined
      /** Whether only where nothing is there, as other lock libraries do; else whatever is there. */
      readonly onlyIfFree: boolean
      readonly millis: number
    }
    | { readonly _tag: "ServerClock"; readonly server: number; readonly byMillis: number }
    | { readonly _tag: "Block"; readonly process: number; readonly millis: number; readonly reads: number }
    | { readonly _tag: "Stop"; readonly process: number; readonly millis: number }
    | { readonly _tag: "Suspend"; readonly process: number; readonly millis: number }
    | { readonly _tag: "SetWall"; readonly process: number; readonly byMillis: number }
    | { readonly _tag: "Crash"; readonly process: number }
  )

export interface Surroundings {
  readonly kind: Kind
  readonly theme: Theme
  readonly healedAt: number
  readonly servers: number
  readonly processes: number
  readonly quorum: number
  readonly names: ReadonlyArray<string>
  /** Whether servers may lose data. */
  readonly mayLose: boolean
}

export const faults = (chance: Chance, around: Surroundings): Array<Fault> => {
  switch (around.kind) {
    case "calm":
      return []
    case "minority":
      return minority(chance, around)
    default:
      return Array.from(
        { length: chance.skewedInt(1, around.theme === "failover" ? 24 : 16) },
        () => fault(chance, around)
      ).sort((a, b) => a.at - b.at)
  }
}

/** So many servers as a quorum can do without are away from the beginning until the network heals. */
const minority = (chance: Chance, { healedAt, quorum, servers, theme }: Surroundings): Array<Fault> => {
  const spare = chance.int(1, servers - quorum)
  const first = chance.int(0, servers - 1)
  return Array.from({ length: spare }, (_, index): Fault => {
    const server = (first + index) % servers
    if (theme === "silence" && chance.in(0.3)) {
      return { _tag: "HoldUp", at: 0, millis: healedAt, process: undefined, server }
    }
    return theme === "silence" || chance.in(0.5)
      ? { _tag: "ServerPause", at: 0, server, millis: healedAt }
      : chance.in(0.5)
      ? { _tag: "ServerCrash", at: 0, server, millis: healedAt, loss: "nothing", noticed: true }
      : {
        _tag: "Partition",
        at: 0,
        millis: healedAt,
        process: undefined,
        server,
        lost: chance.pick(["requests", "replies", "refusing"])
      }
  })
}

const fault = (chance: Chance, around: Surroundings): Fault => {
  const { healedAt, kind, mayLose, processes, servers, theme } = around
  const at = chance.between(0, healedAt)
  const left = healedAt - at
  const millis = Math.min(left, chance.in(0.2) ? chance.between(0, 3000) : chance.skewed(0, 400))
  const server = chance.int(0, servers - 1)
  const process = chance.int(0, processes - 1)
  const between = {
    process: chance.in(0.7) ? process : undefined,
    server: chance.in(0.7) ? server : undefined
  }
  if (theme === "ends" && chance.in(0.5)) {
    return mayLose
      ? { _tag: "ServerCrash", at, server, millis: Math.min(left, 20), loss: "everything", noticed: true }
      : { _tag: "Suspend", at, process, millis }
  }
  if (theme === "silence" && chance.in(0.6)) {
    const long = Math.min(left, chance.between(100, 6000))
    if (chance.in(0.4)) return { _tag: "ServerPause", at, server, millis: long }
    return chance.in(0.6)
      ? { _tag: "HoldUp", at, millis: long, ...between }
      : { _tag: "Break", at, ...between }
  }
  if (theme === "failover" && chance.in(0.8)) return { _tag: "FailOver", at, server }
  if ((theme === "hands" || theme === "everything") && chance.in(0.1)) return foreign(chance, around, at, left)
  const roll = chance.double()
  if (roll < 0.25) {
    return { _tag: "Partition", at, millis, ...between, lost: chance.pick(["requests", "replies", "refusing"]) }
  }
  if (roll < 0.33) return { _tag: "Break", at, ...between }
  if (roll < 0.45) {
    const loss: Loss = mayLose ? chance.pick(["nothing", "everything", "the last second"]) : "nothing"
    return { _tag: "ServerCrash", at, server, millis, loss, noticed: chance.in(0.7) }
  }
  if (roll < 0.55) return { _tag: "ServerPause", at, server, millis }
  if (roll < 0.6 && kind === "wild") {
    return { _tag: "ServerClock", at, server, byMillis: chance.between(-2000, 2000) }
  }
  if (roll < 0.75) return { _tag: "Block", at, process, millis, reads: chance.skewedInt(1, 12) }
  if (roll < 0.85) return { _tag: "Stop", at, process, millis }
  if (roll < 0.9) return { _tag: "Suspend", at, process, millis }
  if (roll < 0.94) return { _tag: "SetWall", at, process, byMillis: chance.between(-3000, 3000) }
  return { _tag: "Crash", at, process }
}

/** What others keep under the names of locks: another library's lock, a string without expiry, or no string at all. */
const foreign = (chance: Chance, { names, servers }: Surroundings, at: number, left: number): Fault => {
  const isLock = chance.in(0.6)
  const value: Foreign = isLock
    ? { value: `foreign ${at}`, type: "string", expiryMillis: chance.int(20, 2000) }
    : { value: `foreign ${at}`, type: chance.pick(["string", "list", "hash"]), expiryMillis: undefined }
  return {
    _tag: "Foreign",
    at,
    servers: Array.from({ length: servers }, (_, index) => index).filter(() => chance.in(0.7)),
    name: chance.pick(names),
    foreign: chance.in(0.1) ? undefined : value,
    onlyIfFree: chance.in(0.8),
    millis: Math.min(left, chance.skewed(10, 1000))
  }
}
