/**
 * Nodes for URLs, as far as they can be known before ioredis is loaded.
 */
import type * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import type { RedisOptions } from "ioredis"
import { nodeAddress, parseRedisUrl, splitUrls } from "./url.ts"

/** Checks URLs, and names their nodes; `open` loads ioredis and opens a node. */
export const urlNodes = <A, R>(open: (options: RedisOptions) => Effect.Effect<A, never, R>) => ({
  split: splitUrls,
  node: (
    url: string,
    option: string,
    shown?: string
  ): { readonly id: string; readonly open: Effect.Effect<A, never, R> } | string => {
    const options = Result.merge(parseRedisUrl(url, option, shown))
    return Predicate.isString(options) ? options : { id: nodeAddress(options), open: open(options) }
  }
})
