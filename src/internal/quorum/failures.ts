/**
 * Failures that are not the server's, but made by the client itself.
 */
import type { NodeError } from "../../LockError.ts"

const clientErrors = new WeakSet<NodeError>()

/** A failure that the client made by itself, by throwing: it says nothing about the server. */
export const markClientError = (error: NodeError): NodeError => {
  clientErrors.add(error)
  return error
}

/** Whether the server has said so. */
export const isServerError = (error: NodeError): boolean =>
  (error.reason === "Rejected" || error.reason === "Abstained") && !clientErrors.has(error)
