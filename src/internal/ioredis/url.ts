/**
 * Redis URLs, and the ids of nodes. Passwords are masked wherever a URL is shown.
 *
 * Only the types of ioredis are imported, since a URL is checked before it is loaded.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { Cluster, ClusterOptions, Redis, RedisOptions } from "ioredis"
import type { ConnectionOptions } from "node:tls"
import { invalidOption } from "../base/arguments.ts"
import { isHostAndPort, maskPassword, untrusted } from "../base/text.ts"

const allowed = `it must be like "redis://host:6379", "rediss://user:password@host:6379/0" or "unix:/path/to.sock"`

/** Splits a list of URLs. A comma between the Sentinels of one URL does not end it. */
export const splitUrls = (text: string): ReadonlyArray<string> =>
  text.split(/,(?=\s*(?:,|$|[a-z][a-z\d+.-]*:\/\/|unix:))/i).map((url) => url.trim()).filter((url) => url !== "")

/**
 * The ioredis options that a URL stands for, or what is wrong with it. `option` names
 * the option that has the URL, and `shown` is what is shown of it.
 */
export const parseRedisUrl = (
  input: string,
  option: string = "nodes",
  shown: string = maskPassword(input)
): Result.Result<RedisOptions, string> => {
  const refuse = (why: string = allowed) => Result.fail(invalidOption(option, shown, why))
  if (/^rediss?\+sentinel:/i.test(input)) {
    return Result.mapError(parseSentinelUrl(input), (why) => invalidOption(option, shown, why))
  }
  if (isHostAndPort(input)) return refuse(`it has no scheme; write "redis://${shown}"`)
  if (!URL.canParse(input)) return refuse()
  const url = new URL(input)
  const [username, password, path] = [url.username, url.password, url.pathname].map(decode)
  if (username === undefined || password === undefined || path === undefined) {
    return refuse(`${allowed}, with a "%" in a password written as "%25"`)
  }
  if (url.hash !== "") return refuse(`${allowed}, with a "#" in a password written as "%23"`)
  const isSocket = url.protocol === "unix:"
  const db = isSocket ? url.searchParams.get("db") : url.pathname.slice(1)
  if (db && !/^\d{1,9}$/.test(db)) return refuse(`${allowed}, with a database number`)
  const database = db ? { db: Number(db) } : {}
  if (isSocket) {
    const onlyDb = [...url.searchParams.keys()].every((key) => key === "db")
    return url.host === "" && path.length > 1 && onlyDb ? Result.succeed({ ...database, path }) : refuse()
  }
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") return refuse()
  if (url.hostname === "" || url.hostname.includes(",") || url.port === "0") return refuse()
  if (url.search !== "") return refuse(`${allowed}; for other settings pass ioredis options`)
  return Result.succeed({
    ...database,
    ...username !== "" && { username },
    ...password !== "" && { password },
    // Only URLs have brackets around IPv6 addresses.
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? 6379 : Number(url.port),
    ...url.protocol === "rediss:" && { tls: {} }
  })
}

const allowedOfSentinels =
  `it must be like "redis+sentinel://user:password@host:26379,host:26379/name-of-the-primary/0", with rediss+sentinel for TLS`

/** A primary behind Sentinels. User and password are those of the servers; the query has `sentinelUsername` and `sentinelPassword`. */
const parseSentinelUrl = (input: string): Result.Result<RedisOptions, string> => {
  const [, scheme, credentials, hosts = "", name = "", db, query = ""] =
    /^(rediss?)\+sentinel:\/\/(?:([^@/]*)@)?([^@/?#]+)\/([^/?#]+)(?:\/(\d{1,9}))?(?:\?([^#]*))?$/i.exec(input) ?? []
  const sentinels = hosts.split(",").map((address) => {
    const [, host, port = "26379"] = /^(\[[\da-f:.]+\]|[^\s:[\]]+)(?::(\d{1,5}))?$/i.exec(address) ?? []
    return host === undefined ? undefined : { host: host.replace(/^\[|\]$/g, ""), port: Number(port) }
  })
  const [username, ...password] = (credentials ?? "").split(":").map(decode)
  const own = new URLSearchParams(query)
  const isAllowed = scheme !== undefined &&
    sentinels.every((one) => one !== undefined && one.port > 0 && one.port < 65536) &&
    decode(name) !== undefined && username !== undefined && password.length < 2 && !password.includes(undefined) &&
    [...own.keys()].every((key) => key === "sentinelUsername" || key === "sentinelPassword")
  return !isAllowed ? Result.fail(allowedOfSentinels) : Result.succeed({
    sentinels: sentinels as Array<{ host: string; port: number }>,
    name: decode(name)!,
    ...Object.fromEntries(own),
    ...username !== "" && { username },
    ...password[0] !== undefined && { password: password[0] },
    ...db !== undefined && { db: Number(db) },
    ...scheme.toLowerCase() === "rediss" && { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true }
  })
}

const decode = (part: string): string | undefined => {
  try {
    return decodeURIComponent(part)
  } catch {
    return undefined
  }
}

/** The id of a node: its address, without anything that could be a password. */
export const nodeAddress = ({ db, host, name, path, port, sentinels }: RedisOptions): string => {
  const address = sentinels
    ? `sentinel ${named(name)} at ${sentinels.map((sentinel) => hostAndPort(sentinel, 26379)).join(",")}`
    : path == null
    ? hostAndPort({ host, port }, 6379)
    : hasCredentials(path)
    ? maskPassword(path)
    : path
  return untrusted(db ? `${address}/${db}` : address)
}

const named = (name: string | undefined) => name !== undefined && hasCredentials(name) ? maskPassword(name) : name

/** Whether a host, a path or a name is a URL or the end of one by mistake. "/run/redis@1.sock" is not. */
export const hasCredentials = (text: string) => text.includes("://") || /^[^./@\0][^@]*@/.test(text)

/** The address of a startup node of an ioredis cluster: a port, a URL or options. */
export const startupAddressOf = (node: unknown): string => {
  if (!Predicate.isString(node)) {
    return hostAndPort(Predicate.isNumber(node) ? { port: node } : node as RedisOptions, 6379)
  }
  const url = node.includes("://") ? node : `redis://${node}`
  if (!URL.canParse(url)) return "***"
  const { hostname, port } = new URL(url)
  return hostAndPort({ host: hostname, port: Number(port) || undefined }, 6379)
}

interface Endpoint {
  readonly host?: string | undefined
  readonly port?: number | undefined
}

const hostAndPort = ({ host = "127.0.0.1", port }: Endpoint, defaultPort: number): string =>
  // The host may be a URL by mistake.
  `${/[@/?]/.test(host) ? "***" : host}:${port ?? defaultPort}`

/** The values among the options of a client or cluster that must never be shown. */
export const secretsOf = (client: Redis | Cluster | { readonly options: RedisOptions }): ReadonlyArray<string> => {
  const { options } = client
  if (!("isCluster" in client) || !client.isCluster) return secretsIn(options)
  const { startupNodes = [] } = client as unknown as { readonly startupNodes?: ReadonlyArray<unknown> }
  return [(options as ClusterOptions).redisOptions, ...startupNodes].flatMap(secretsIn)
}

const secretsIn = (options: unknown): ReadonlyArray<string> => {
  if (Predicate.isString(options)) return credentialsIn(options)
  if (!Predicate.isObject(options)) return []
  const { host, name, password, path, sentinelPassword, sentinelTLS, sentinels, tls, username } =
    options as RedisOptions
  return [
    password,
    sentinelPassword,
    // In a URL like "redis://password@host" the user is a password by mistake.
    password == null ? username : undefined,
    ...[tls, sentinelTLS].flatMap(keysIn),
    ...[host, path, name, ...(sentinels ?? []).map(({ host }) => host)].flatMap(credentialsIn)
  ].filter(Predicate.isString)
}

const keysIn = (tls: ConnectionOptions | undefined) => [tls?.key, tls?.pfx, tls?.passphrase].flat().flatMap(keyIn)

const keyIn = (key: unknown): ReadonlyArray<string> =>
  Predicate.isString(key)
    ? [key]
    : Predicate.isUint8Array(key)
    ? [Buffer.from(key).toString()]
    : Predicate.isObject(key)
    ? Object.values(key).flatMap(keyIn)
    : []

/** The whole text if it contains credentials, since an error may repeat it, and each part that may be one. */
const credentialsIn = (text: unknown): ReadonlyArray<string> => {
  if (!Predicate.isString(text) || !hasCredentials(text) || maskPassword(text) === text) return []
  const credentials = text.slice(text.indexOf("://") + 1).replace(/^\/\//, "").replace(/@[^@]*$/, "")
  const parts = [credentials, credentials.slice(credentials.indexOf(":") + 1)]
  return [text, ...parts, ...parts.map(decode)].filter(Predicate.isString)
}
