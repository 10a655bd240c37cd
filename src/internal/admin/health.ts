/**
 * The health of the nodes, for readiness probes.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { Health, NodeHealth } from "../../Inspection.ts"
import { NodeError } from "../../LockError.ts"
import type { LockNode } from "../../LockNode.ts"
import { passes } from "../base/arguments.ts"
import { askAbstention, inspectKey } from "../claim/claim.ts"
import type { LockSettings } from "../claim/settings.ts"
import { healthKey } from "../nodeContract.ts"
import type { AdminContext } from "./unlock.ts"

/** A node that denies access to the health key may still allow locks under other keys. */
const countsAsUp = ({ cause, reason }: NodeError): boolean =>
  reason === "Rejected" && passes(() => cause instanceof Error && cause.message.startsWith("NOPERM"))

/** Checks that the node replies, and whether it would abstain from voting. */
const askHealth = (node: LockNode): Effect.Effect<Option.Option<string>, NodeError> =>
  Effect.andThen(inspectKey(node, healthKey), askAbstention(node, healthKey))

export const health = (
  service: Pick<AdminContext, "nodes" | "quorum">,
  settings: LockSettings
): Effect.Effect<Health> =>
  Effect.map(
    service.quorum.request({
      operation: "inspect",
      key: healthKey,
      timeoutMillis: settings.nodeTimeoutMillis,
      sendTo: askHealth,
      isGranted: Option.isNone,
      awaitAll: true
    }),
    ({ byNode, quorum }) => {
      const nodes = service.nodes.map(({ id: node }, index): NodeHealth => {
        const error = Result.match(byNode[index]!, {
          onFailure: (error) => countsAsUp(error) ? undefined : error,
          onSuccess: Option.match({
            onNone: () => undefined,
            onSome: (cause) => new NodeError({ node, operation: "acquire", reason: "Abstained", cause })
          })
        })
        return error === undefined ? { _tag: "Up", node } : { _tag: "Down", node, error }
      })
      const up = nodes.filter(({ _tag }) => _tag === "Up").length
      return { isReady: up >= quorum, quorum, nodes }
    }
  )
