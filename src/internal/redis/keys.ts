/**
 * The keys that stand beside a lock's key, and the channels of waiters.
 *
 * All keys of ours begin with `redsync:` and the version of their form, so that a
 * later form never meets this one. A lock's key is its name as it is, and names
 * of that form are refused: no lock can be in the way of what is kept for another.
 */

/** What is kept beside a lock. */
export type Kind = "fencing" | "label" | "waiting"

/** Redis' hash tag of a key: what stands between its first `{` and the next `}`, unless that is nothing. */
const hashTag = /^[^{]*\{([^}]+)\}/

/**
 * The key of that kind for a lock: names that differ never share one, and it is in
 * the lock's slot of a cluster wherever `canHaveCompanion` says so. A name with a hash tag
 * keeps it, any other is made one. `prefix` is what a cluster client puts before
 * every key by itself.
 */
export const companionKey = (kind: Kind, name: string, prefix: string = ""): string =>
  hashTag.test(name) ? `redsync:1:${kind}:=${name}` : `redsync:1:${kind}:{${prefix}${name}}`

/**
 * Whether a key beside the lock can be in its slot. The hash tag begins with the
 * first `{`, so a prefix that has one decides for itself; and a name that is made a
 * hash tag must not end it too soon.
 */
export const canHaveCompanion = (name: string, prefix: string = ""): boolean => {
  if (prefix.includes("{")) return hashTag.test(prefix)
  return hashTag.test(name) || !(prefix + name).includes("}")
}

/** The channel on which a waiter hears that it is its turn. The message is the name of the lock. */
export const wakeUpChannel = (waiter: string): string => `redsync:turn:${waiter}`

/** The companion keys of a node. */
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
