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

const ofClient = new WeakSet<NodeError>()

/** A failure that the client made by itself, by throwing: it says nothing about the server. */
export const markOfClient = (error: NodeError): NodeError => {
  ofClient.add(error)
  return error
}

/** Whether the server has said so. */
export const isOfServer = (error: NodeError): boolean =>
  (error.reason === "Rejected" || error.reason === "Abstained") && !ofClient.has(error)
