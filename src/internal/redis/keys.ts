/**
 * The companion keys of a lock, and the channels of waiters.
 *
 * Companion keys begin with `redsync:` and a version, so that a later format never collides with
 * this one. A lock's key is its name, and names of that form are refused, so no lock can collide
 * with the companion key of another.
 */
import { serviceIdLength } from "../nodeContract.ts"

/** What is kept in a companion key. */
export type Kind = "fencing" | "label" | "line" | "permits" | "permit-fencing" | "permit-line" | "readers" | "turns"

/** The hash tag of a key: the text between its first `{` and the next `}`, unless it is empty. */
const hashTag = /^[^{]*\{([^}]+)\}/

/**
 * The companion key of that kind. Different names never share one, and it is in the
 * lock's slot of a cluster if `canHaveCompanion` holds. A name with a hash tag keeps it;
 * any other name becomes one. `prefix` is what a cluster client adds in front of every
 * key.
 */
export const companionKey = (kind: Kind, name: string, prefix: string = ""): string =>
  hashTag.test(name) ? `redsync:1:${kind}:=${name}` : `redsync:1:${kind}:{${prefix}${name}}`

/**
 * Whether a companion key can be in the lock's slot. The hash tag begins with the
 * first `{`, so a prefix that contains one decides; and a name that becomes a hash tag
 * must not end it early.
 */
export const canHaveCompanion = (name: string, prefix: string = ""): boolean => {
  if (prefix.includes("{")) return hashTag.test(prefix)
  return hashTag.test(name) || !(prefix + name).includes("}")
}

export const wakeUpChannel = (waiterId: string): string => `redsync:turn:${waiterId}`

/** What the channels of all waiters with the same prefix begin with. */
export const wakeUpChannels = (waiterId: string): string => wakeUpChannel(waiterId.slice(0, -serviceIdLength))

/** A glob pattern of these channels. */
export const wakeUpPattern = (waiterId: string): string =>
  wakeUpChannels(waiterId).replaceAll(/[\\*?[\]]/g, "\\$&") + "?".repeat(serviceIdLength)

export interface CompanionKeys {
  /** Whether a lock of this name can have them: they must be in the lock's slot of a cluster. */
  readonly canExist: (name: string) => boolean
  readonly of: (kind: Kind, name: string) => string
}

/** For a cluster, or for a single server. */
export const companionKeys = (cluster?: { readonly keyPrefix: string }): CompanionKeys => ({
  canExist: (name) => cluster === undefined || canHaveCompanion(name, cluster.keyPrefix),
  of: (kind, name) => companionKey(kind, name, cluster?.keyPrefix)
})
