/**
 * What a server says about itself, and what is wrong with it.
 */
import { untrusted } from "../../internal/base/text.ts"
import { error, type Finding, note, warning } from "./finding.ts"

/** The answer to INFO, by field. */
export type Info = ReadonlyMap<string, string>

export const parseInfo = (text: string): Info =>
  new Map(
    text.split("\r\n").flatMap((line): Array<[string, string]> => {
      const colon = line.indexOf(":")
      return colon === -1 || line.startsWith("#") ? [] : [[line.slice(0, colon), untrusted(line.slice(colon + 1))]]
    })
  )

/** Name and version. Valkey also states the version of Redis that it is compatible with. */
export const versionOf = (info: Info): string | undefined => {
  const valkey = info.get("valkey_version")
  const redis = info.get("redis_version")
  return valkey !== undefined ? `Valkey ${valkey}` : redis === undefined ? undefined : `Redis ${redis}`
}

export const roleOf = (info: Info): string | undefined => {
  const role = info.get("role")
  return role === "slave" ? "replica" : role
}

/** How much a restart loses, as far as INFO shows. */
export const persistenceOf = (info: Info): string | undefined => {
  const appendOnly = info.get("aof_enabled")
  return appendOnly === undefined ? undefined : appendOnly === "1" ? "append-only file" : "none between snapshots"
}

/** 0 if the clock was set back to before the start of the server. */
export const uptimeOf = (info: Info): number | undefined =>
  info.get("uptime_in_seconds")?.startsWith("-") === true ? 0 : numberOf(info, "uptime_in_seconds")

const numberOf = (info: Info, field: string): number | undefined => {
  const text = info.get(field) ?? ""
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

export const examineInfo = (
  info: Info,
  { delayedRestartMillis, replicas }: { readonly delayedRestartMillis: number; readonly replicas: number }
): ReadonlyArray<Finding> => [
  ...version(info),
  ...role(info),
  ...replication(info, replicas),
  ...eviction(info),
  ...restarts(info, delayedRestartMillis)
]

const oldest = [6, 0, 6] as const

function* version(info: Info): Iterable<Finding> {
  const text = info.get("redis_version")
  if (text === undefined) return
  const parts = text.split(".").map(Number)
  const difference = oldest.map((least, index) => (parts[index] ?? 0) - least).find((difference) => difference !== 0)
  if (difference !== undefined && difference < 0) {
    yield warning(
      "version",
      `is version ${text}: before 6.0.6, waiters poll instead of being woken`,
      "Upgrade the server."
    )
  }
}

function* role(info: Info): Iterable<Finding> {
  if (info.get("role") === "slave") {
    const primary = `${info.get("master_host")}:${info.get("master_port")}`
    yield error(
      "role",
      `is a replica of ${primary}: it accepts no locks and does not count as a node`,
      `Use ${primary} instead.`
    )
  }
  if (info.get("cluster_enabled") === "1") {
    yield error(
      "role",
      "is one server of a Redis Cluster: it stores only some of the keys",
      "Use independent servers, or give the library a cluster client, which counts as one node."
    )
  }
}

function* replication(info: Info, wanted: number): Iterable<Finding> {
  const replicas = numberOf(info, "connected_slaves") ?? 0
  if (replicas < wanted) {
    yield error("replicas", `has ${replicas} of the ${wanted} replicas that must acknowledge a lock: it grants none`)
  }
}

function* eviction(info: Info): Iterable<Finding> {
  const policy = info.get("maxmemory_policy")
  if (policy === undefined || policy === "noeviction") return
  if (info.get("maxmemory") !== "0") {
    yield error(
      "eviction",
      `deletes locks when its memory is full: maxmemory-policy is ${policy}`,
      "Run CONFIG SET maxmemory-policy noeviction, or keep locks on a server of their own."
    )
  } else {
    yield note("eviction", `would delete locks if maxmemory were set: maxmemory-policy is ${policy}`)
  }
}

function* restarts(info: Info, delayedRestartMillis: number): Iterable<Finding> {
  const uptime = uptimeOf(info)
  if (delayedRestartMillis === 0) {
    if (info.get("aof_enabled") === "0") {
      yield warning(
        "persistence",
        "is not durable: after a restart it may grant a lock that is still held",
        "Set delayedRestart (--delayed-restart) to more than your longest expiry, or appendonly yes with appendfsync always."
      )
    }
  } else if (uptime !== undefined && uptime * 1000 < delayedRestartMillis) {
    const left = Math.ceil(delayedRestartMillis / 1000 - uptime)
    yield warning("uptime", `has been up for only ${uptime} s and does not vote on new locks for ${left} s more`)
  }
}

/** What appendfsync means, if we may read it. */
export const examineFsync = (appendFsync: string, delayedRestartMillis: number): ReadonlyArray<Finding> =>
  appendFsync === "always" || delayedRestartMillis > 0 ? [] : [warning(
    "persistence",
    `may lose its most recent locks in a crash: appendfsync is ${appendFsync}`,
    "Set delayedRestart (--delayed-restart) to more than your longest expiry, or appendfsync always."
  )]

/** Sentinels promote a replica, which may not have the most recent locks. */
export const examineFailover = (replicas: number): ReadonlyArray<Finding> =>
  replicas > 0 ? [] : [warning(
    "failover",
    "may lose its most recent locks in a failover: the promoted replica may then grant a lock that is still held",
    "Set replicas (REDSYNC_REPLICAS) to the number of replicas, or one less if one may be down."
  )]

/** Leases need no common time. But a clock that is off may be set at any moment. */
export const examineClock = (offsetMillis: number, roundTripMillis: number): ReadonlyArray<Finding> => {
  if (Math.abs(offsetMillis) <= 1000 + roundTripMillis) return []
  const seconds = (Math.abs(offsetMillis) / 1000).toFixed(1)
  return [warning(
    "clock",
    `has a clock that is ${seconds} s ${offsetMillis > 0 ? "ahead of" : "behind"} this machine's`,
    "Keep both in sync with NTP. When a clock is set, keys expire early or late."
  )]
}

/** Why there was no answer, and what may help. */
export const examineFailure = (summary: string): Finding => {
  const advice = ([
    ["ECONNREFUSED", "Is the server running and listening there?"],
    ["RESP type", "Is it a Redis or Valkey server?"],
    ["ENOTFOUND", "The host name cannot be resolved here: check the URL and DNS."],
    ["NOAUTH", "It requires a password: redis://user:password@host."],
    ["WRONGPASS", "The user or the password is wrong; in a URL, special characters are written as %XX."],
    ["NOPERM", "The user lacks permissions: src/guide/deploying.md in the package has the exact rule."],
    ["LOADING", "It is still loading its data: try again in a moment."],
    ["did not answer in time", "It is overloaded or frozen, or a firewall drops packets."],
    ["TLS", "Use rediss:// with TLS and redis:// without; --cacert names the file of a private CA."],
    ["certificate", "--cacert names the file of a private CA."]
  ] as const).find(([sign]) => summary.includes(sign))?.[1]
  return error("reachable", summary, advice)
}
