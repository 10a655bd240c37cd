/**
 * A `LockNode` of a process: its server at the other end of a link.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LockError, type LockNode, type NodeError } from "../../../src/index.ts"
import { abstentionReason } from "../../../src/internal/nodeContract.ts"
import type { Notice, WaitingList } from "../../../src/LockNode.ts"
import type { Link } from "./link.ts"
import type { Server } from "./server.ts"

/** What a process asks of nodes at present: to be none when it has closed its service. */
export interface Calls {
  underWay: number
  readonly onAcquire: (key: string, value: string) => void
  /** Something is sent that changes the key of a value, or a key whoever has it. */
  readonly onTouch: (operation: Touch, about: string) => void
  /** A connection is given up. */
  readonly onReconnect: () => void
  readonly onRaise: (value: string) => void
  readonly onTurn: () => void
  readonly onHandedOver: (server: Server, value: string) => void
  /** A value stands in line from now on. */
  readonly onJoin: (key: string, value: string) => void
  readonly short: (value: string) => string
}

class Abstention {
  readonly why: string

  constructor(why: string) {
    this.why = why
  }
}

export type Touch = "extend" | "release" | "replace" | "remove"

export interface NodeOptions {
  readonly hasList: boolean
  /** Whether locks are handed over. */
  readonly handsOver: boolean
  /** The node fails without an answer: it throws, or its effect dies. */
  readonly breaks: () => "throws" | "dies" | undefined
  readonly minUptimeMillis: number
  /** A yes counts once the replica has it, if that takes no longer. */
  readonly acknowledgedWithin: number | undefined
}

export const make = (link: Link, calls: Calls, options: NodeOptions): LockNode => {
  const { minUptimeMillis } = options
  const { server } = link

  const fail = (
    operation: NodeError["operation"],
    reason: NodeError["reason"],
    cause: string
  ) => Effect.fail(new LockError.NodeError({ node: server.name, operation, reason, cause }))

  /** For a server that has been up for long enough. */
  const unlessYoung = <A>(execute: (server: Server) => A) => (server: Server) => {
    const why = abstentionReason(server.uptime(), minUptimeMillis)
    return Option.isSome(why) ? new Abstention(why.value) : execute(server)
  }

  const ask = <A>(
    operation: NodeError["operation"],
    what: () => string,
    execute: (server: Server) => A | Abstention,
    isWrite = false
  ): Effect.Effect<A, NodeError> => {
    const broken = options.breaks()
    if (broken === "throws") throw new Error("the node throws")
    if (broken === "dies") return Effect.die(new Error("the node dies"))
    const acknowledge = isWrite ? options.acknowledgedWithin : undefined
    return Effect.callback((resume) => {
      calls.underWay++
      let isOpen = true
      const close = () => {
        if (isOpen) calls.underWay--
        isOpen = false
      }
      const forget = link.request(what, execute, (reply) => {
        close()
        if ("disconnected" in reply) return resume(fail(operation, "Disconnected", reply.disconnected))
        const { answer } = reply
        if (acknowledge !== undefined && server.replicaLag > acknowledge) {
          return resume(fail(operation, "Rejected", "no replica has it"))
        }
        resume(
          answer instanceof Abstention ? fail(operation, "Abstained", answer.why) : Effect.succeed(answer)
        )
      }, acknowledge === undefined ? 0 : Math.min(acknowledge, server.replicaLag))
      return Effect.sync(() => {
        close()
        forget()
      })
    })
  }

  const waitingList: NonNullable<LockNode["waitingList"]> = (waiter, hear) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const missed = () => {
            if (!isListening) return
            server.ears.set(waiter, ear)
            hear({ _tag: "Resync" })
          }
          let isListening = false
          let isClosed = false
          const ear = {
            hear: (notice: Notice) =>
              link.notify(() => `${notice._tag} ${"key" in notice ? notice.key : ""}`, () => {
                if (!isListening) return
                if (notice._tag === "WakeUp") calls.onTurn()
                if (notice._tag !== "HandedOver") return hear(notice)
                calls.onHandedOver(server, notice.value)
                hear({ ...notice, time: { ...notice.time, clock: link.connectionId } })
              })
          }
          link.onBroken.add(missed)
          return {
            listen: () => {
              if (isClosed) return
              isListening = true
              server.ears.set(waiter, ear)
            },
            close: () => {
              isListening = false
              isClosed = true
              link.onBroken.delete(missed)
              server.ears.delete(waiter)
            }
          }
        }),
        ({ close }) => Effect.sync(close)
      ),
      ({ listen }): WaitingList => ({
        join: (key, entry, place, remove) => {
          calls.onJoin(key, entry.value)
          const clock = link.connectionId
          return ask("inspect", () => `join ${key} ${calls.short(entry.value)} ${place}`, (server) => {
            listen()
            return { ...server.join(key, waiter, entry, place, remove), time: { millis: server.clock(), clock } }
          })
        },
        leave: (key, entry) =>
          ask(
            "release",
            () => `leave ${key} ${calls.short(entry.value)}`,
            (server) => server.leave(key, waiter, entry)
          ),
        release: (key, value, entry) => {
          calls.onTouch("release", value)
          return ask(
            "release",
            () => `release ${key} ${calls.short(value)} and wake`,
            (server) => server.releaseAndWake(key, value, waiter, entry)
          )
        },
        alert: (key) => ask("inspect", () => `alert ${key}`, (server) => server.alert(key)),
        ...options.handsOver && options.acknowledgedWithin === undefined && {
          handOver: {
            listen: (key) => {
              const clock = link.connectionId
              return ask("inspect", () => `listen ${key}`, (server) => {
                listen()
                return { millis: server.clock(), clock }
              })
            },
            stopListening: () =>
              ask("inspect", () => "stops listening", (server) => {
                server.ears.delete(waiter)
              }),
            transfer: (key, value, successor, terms) => {
              calls.onTouch("release", value)
              return ask(
                "release",
                () => `transfer ${key} from ${calls.short(value)} to ${calls.short(successor.value)}`,
                (server) => {
                  const isYoung = server.uptime() < options.minUptimeMillis
                  return server.transfer(key, value, waiter, successor, terms, isYoung)
                }
              )
            }
          }
        }
      })
    )

  return {
    id: server.name,
    resends: link.options.resends,
    ...options.hasList ? { waitingList } : {},
    acquire: (key, value, expiry) => {
      calls.onAcquire(key, value)
      return ask(
        "acquire",
        () => `acquire ${key} ${calls.short(value)} for ${expiry}`,
        unlessYoung((server) => server.acquire(key, value, expiry)),
        true
      )
    },
    fencing: {
      acquire: (key, value, expiry, proposal) => {
        calls.onAcquire(key, value)
        return ask(
          "acquire",
          () => `acquire ${key} ${calls.short(value)} for ${expiry} with ${proposal}`,
          unlessYoung((server) => Option.fromUndefinedOr(server.acquireFenced(key, value, expiry, proposal))),
          true
        )
      },
      replace: (key, value, newValue, expiry, proposal) => {
        calls.onTouch("replace", value)
        calls.onAcquire(key, newValue)
        return ask(
          "acquire",
          () => `replace ${key} ${calls.short(value)} by ${calls.short(newValue)} for ${expiry} with ${proposal}`,
          (server) => Option.fromUndefinedOr(server.replaceFenced(key, value, newValue, expiry, proposal)),
          true
        )
      },
      raise: (key, value, token) => {
        calls.onRaise(value)
        return ask(
          "acquire",
          () => `raise ${key} ${calls.short(value)} to ${token}`,
          (server) => server.raise(key, value, token),
          true
        )
      }
    },
    replace: (key, value, newValue, expiry) => {
      calls.onTouch("replace", value)
      calls.onAcquire(key, newValue)
      return ask(
        "acquire",
        () => `replace ${key} ${calls.short(value)} by ${calls.short(newValue)} for ${expiry}`,
        (server) => server.replace(key, value, newValue, expiry),
        true
      )
    },
    mayOvertake: () => link.mayOvertake,
    ...link.options.reconnects && {
      reconnect: Effect.sync(() => {
        calls.onReconnect()
        link.break()
      })
    },
    delayedRestart: (millis) => make(link, calls, { ...options, minUptimeMillis: millis }),
    replicas: (_count, millis) => make(link, calls, { ...options, acknowledgedWithin: millis }),
    ...minUptimeMillis > 0 && {
      abstention: (key: string) =>
        ask("inspect", () => `uptime ${key}`, (server) => abstentionReason(server.uptime(), minUptimeMillis))
    },
    extend: (key, value, expiry, ifPresent = false) => {
      calls.onTouch("extend", value)
      return ask(
        "extend",
        () => `extend ${key} ${calls.short(value)} for ${expiry}${ifPresent ? " if there" : ""}`,
        (server) => server.extend(key, value, expiry, ifPresent),
        true
      )
    },
    release: (key, value) => {
      calls.onTouch("release", value)
      return ask("release", () => `release ${key} ${calls.short(value)}`, (server) => server.release(key, value))
    },
    inspect: (key) => ask("inspect", () => `inspect ${key}`, (server) => Option.fromUndefinedOr(server.inspect(key))),
    remove: (key) => {
      calls.onTouch("remove", key)
      return ask("remove", () => `remove ${key}`, (server) => server.remove(key))
    }
  }
}
