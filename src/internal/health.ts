/**
 * Whether the nodes answer, for readiness probes.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { NodeError } from "../LockError.ts"
import type { Health, NodeHealth } from "../Redsync.ts"
import type { Settings } from "./options.ts"
import type { Service } from "./service.ts"

/** Looked for on every node, and never there. */
const probe = "redsync:health"

/** Who may not look at this key may well be allowed to lock others. */
const isAnswer = ({ cause, reason }: NodeError): boolean =>
  reason === "Rejected" && cause instanceof Error && cause.message.startsWith("NOPERM")

export const health = (service: Service, settings: Settings): Effect.Effect<Health> =>
  Effect.map(
    service.quorum.ask({
      operation: "inspect",
      timeoutMillis: settings.nodeTimeoutMillis,
      ask: (node) => node.inspect(probe),
      isYes: () => true,
      all: true
    }),
    ({ byNode, quorum }) => {
      const nodes = service.nodes.map(({ id: node }, index): NodeHealth => {
        const answer = byNode[index]!
        return Result.isFailure(answer) && !isAnswer(answer.failure)
          ? { _tag: "Down", node, error: answer.failure }
          : { _tag: "Up", node }
      })
      const up = nodes.filter(({ _tag }) => _tag === "Up").length
      return { isReady: up >= quorum, quorum, nodes }
    }
  )
