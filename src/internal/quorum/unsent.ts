/**
 * Failures of requests that were never sent: what they asked for will not happen.
 */
import type { NodeError } from "../../LockError.ts"

const unsent = new WeakSet<NodeError>()

export const markUnsent = (error: NodeError): NodeError => {
  unsent.add(error)
  return error
}

export const isUnsent = (error: NodeError): boolean => unsent.has(error)
