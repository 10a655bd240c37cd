/**
 * Failures that are not the server's: of requests that were never sent, so that what
 * they asked for will not happen, and those that a client made by itself.
 */
import type { NodeError } from "../../LockError.ts"

const unsent = new WeakSet<NodeError>()

export const markUnsent = (error: NodeError): NodeError => {
  unsent.add(error)
  return error
}

export const isUnsent = (error: NodeError): boolean => unsent.has(error)

const clientErrors = new WeakSet<NodeError>()

/** A failure that the client made by itself, by throwing: it says nothing about the server. */
export const markClientError = (error: NodeError): NodeError => {
  clientErrors.add(error)
  return error
}

/** Whether the server has said so. */
export const isServerError = (error: NodeError): boolean =>
  (error.reason === "Rejected" || error.reason === "Abstained") && !clientErrors.has(error)
