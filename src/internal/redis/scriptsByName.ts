/**
 * The scripts as they are sent.
 */
import { script } from "./client.ts"
import * as lua from "./scripts.ts"

export const scriptsByName = {
  alert: script(lua.alert),
  acquire: script(lua.acquire, { sets: 0 }),
  acquireFenced: script(lua.acquireFenced, { sets: 0 }),
  // Does not set a key that is gone: a release may have deleted it.
  extend: script(lua.extend, { argsIfResent: ([value, expiryMillis]) => [value!, expiryMillis!, 0] }),
  inspect: script(lua.inspect),
  join: script(lua.join),
  leave: script(lua.leave),
  raise: script(lua.raiseCounter),
  replace: script(lua.replace, { sets: 1 }),
  replaceFenced: script(lua.replaceFenced, { sets: 1 }),
  release: script(lua.release, { deletes: 0 }),
  releaseAndWake: script(lua.releaseAndWake, { deletes: 0 }),
  time: script(lua.time),
  transfer: script(lua.transfer, { deletes: 0 }),
  transferFenced: script(lua.transferFenced, { deletes: 0 }),
  uptime: script(lua.uptime)
}
