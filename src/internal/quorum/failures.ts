/**
 * Errors raised by the client itself rather than by the server.
 */
import type { NodeError } from "../../LockError.ts"

const clientErrors = new WeakSet<NodeError>()

/** Marks an error that the client itself threw, which says nothing about the server. */
export const markClientError = (error: NodeError): NodeError => {
  clientErrors.add(error)
  return error
}

/** Whether the error is a reply of the server. */
export const isServerError = (error: NodeError): boolean =>
  (error.reason === "Rejected" || error.reason === "Abstained") && !clientErrors.has(error)
