/**
 * Redis URLs. What cannot be understood is told with its password masked.
 */
import * as Result from "effect/Result"
import type { RedisOptions } from "ioredis"
import { wrong } from "./options.ts"

const allowed = `it must be like "redis://host:6379", "rediss://user:password@host:6379/0" or "unix:/path/to.sock"`

/** The ioredis options a URL stands for, or a sentence saying what is wrong with it. */
export const parseRedisUrl = (input: string): Result.Result<RedisOptions, string> => {
  const refuse = (allowed: string) => Result.fail(wrong("nodes", maskPassword(input), allowed))
  if (!URL.canParse(input)) return refuse(allowed)
  const url = new URL(input)
  const malformed = [url.username, url.password, url.pathname].some((part) => /%(?![0-9a-f]{2})/i.test(part))
  if (malformed) return refuse(`${allowed}, with a "%" written as "%25"`)
  const db = url.protocol === "unix:" ? url.searchParams.get("db") : url.pathname.slice(1)
  if (db && !/^\d+$/.test(db)) return refuse(`${allowed}, with a database number`)
  const common = { ...decoded("username", url.username), ...decoded("password", url.password), ...db && { db: +db } }
  switch (url.protocol) {
    case "redis:":
    case "rediss:": {
      if (url.hostname === "") return refuse(allowed)
      if (url.search !== "") return refuse(`${allowed}; for other settings pass ioredis options`)
      return Result.succeed({
        ...common,
        // IPv6 addresses stand in brackets in a URL, and only there.
        host: url.hostname.replace(/^\[|\]$/g, ""),
        port: url.port === "" ? 6379 : Number(url.port),
        ...url.protocol === "rediss:" && { tls: {} }
      })
    }
    case "unix:":
      return url.pathname.length > 1
        ? Result.succeed({ ...common, path: decodeURIComponent(url.pathname) })
        : refuse(allowed)
    default:
      return refuse(allowed)
  }
}

const decoded = (key: "username" | "password", value: string) =>
  value === "" ? {} : { [key]: decodeURIComponent(value) }

/** Whatever stands between the scheme and the last `@` may be a password. */
const maskPassword = (input: string): string => input.replace(/^([a-z0-9+.-]*:\/\/)?.*@/is, "$1***@")
