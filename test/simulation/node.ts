/**
 * A `LockNode` of a process: its server at the other end of a link.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { LockError, type LockNode } from "../../src/index.ts"
import { abstention } from "../../src/internal/reply.ts"
import type { Link } from "./link.ts"
import type { Server } from "./server.ts"

/** What a process asks of nodes at present: to be none when it has closed its service. */
export interface Calls {
  underWay: number
  readonly onAcquire: (value: string) => void
  readonly onRaise: (value: string) => void
  readonly onTurn: () => void
  readonly short: (value: string) => string
}

class Abstention {
  readonly why: string

  constructor(why: string) {
    this.why = why
  }
}

export const make = (link: Link, hasList: boolean, calls: Calls, leastUptimeMillis = 0): LockNode.LockNode => {
  const { server } = link

  const fail = (
    operation: LockError.NodeError["operation"],
    reason: LockError.NodeError["reason"],
    cause: string
  ) => Effect.fail(new LockError.NodeError({ node: server.name, operation, reason, cause }))

  /** For a server that has been up for long enough. */
  const unlessYoung = <A>(execute: (server: Server) => A) => (server: Server) => {
    const why = abstention(server.uptime(), leastUptimeMillis)
    return Option.isSome(why) ? new Abstention(why.value) : execute(server)
  }

  const ask = <A>(
    operation: LockError.NodeError["operation"],
    what: () => string,
    execute: (server: Server) => A | Abstention
  ): Effect.Effect<A, LockError.NodeError> =>
    Effect.callback((resume) => {
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
        resume(
          answer instanceof Abstention ? fail(operation, "Abstained", answer.why) : Effect.succeed(answer)
        )
      })
      return Effect.sync(() => {
        close()
        forget()
      })
    })

  const waitingList: NonNullable<LockNode.LockNode["waitingList"]> = (waiter, hear) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const missed = () => {
            if (!isListening) return
            server.ears.set(waiter, ear)
            hear({ _tag: "Missed" })
          }
          let isListening = false
          let isClosed = false
          const ear = {
            hear: (notice: LockNode.Notice) =>
              link.notify(() => `${notice._tag} ${"key" in notice ? notice.key : ""}`, () => {
                if (!isListening) return
                if (notice._tag === "Turn") calls.onTurn()
                hear(notice)
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
      ({ listen }): LockNode.WaitingList => ({
        join: (key, place) =>
          ask("inspect", () => `join ${key} ${place}`, (server) => {
            listen()
            return server.join(key, waiter, place)
          }),
        leave: (key) => ask("release", () => `leave ${key}`, (server) => server.leave(key, waiter)),
        release: (key, value, listed) =>
          ask(
            "release",
            () => `release ${key} ${calls.short(value)} and wake`,
            (server) => server.releaseAndWake(key, value, waiter, listed)
          )
      })
    )

  return {
    id: server.name,
    resends: link.options.resends,
    ...hasList ? { waitingList } : {},
    acquire: (key, value, expiry) => {
      calls.onAcquire(value)
      return ask(
        "acquire",
        () => `acquire ${key} ${calls.short(value)} for ${expiry}`,
        unlessYoung((server) => server.acquire(key, value, expiry))
      )
    },
    fencing: {
      acquire: (key, value, expiry, proposal) => {
        calls.onAcquire(value)
        return ask(
          "acquire",
          () => `acquire ${key} ${calls.short(value)} for ${expiry} with ${proposal}`,
          unlessYoung((server) => Option.fromUndefinedOr(server.acquireFenced(key, value, expiry, proposal)))
        )
      },
      raise: (key, value, token) => {
        calls.onRaise(value)
        return ask(
          "acquire",
          () => `raise ${key} ${calls.short(value)} to ${token}`,
          (server) => server.raise(key, value, token)
        )
      }
    },
    delayedRestart: (millis) => make(link, hasList, calls, millis),
    abstention: (key) =>
      ask("inspect", () => `uptime ${key}`, (server) => abstention(server.uptime(), leastUptimeMillis)),
    extend: (key, value, expiry, onlyIfThere = false) =>
      ask(
        "extend",
        () => `extend ${key} ${calls.short(value)} for ${expiry}${onlyIfThere ? " if there" : ""}`,
        (server) => server.extend(key, value, expiry, onlyIfThere)
      ),
    release: (key, value) =>
      ask("release", () => `release ${key} ${calls.short(value)}`, (server) => server.release(key, value)),
    inspect: (key) => ask("inspect", () => `inspect ${key}`, (server) => Option.fromUndefinedOr(server.inspect(key))),
    remove: (key) => ask("remove", () => `remove ${key}`, (server) => server.remove(key))
  }
}
