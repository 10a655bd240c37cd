/**
 * The Lua scripts. Each touches one key and is atomic on its server.
 *
 * `GET` runs under `pcall`, so that a key which is no string counts as "not
 * ours" instead of failing the script; any other error, such as a missing
 * permission, is the script's answer.
 */

const whereOurs = (then: string) =>
  `local held = redis.pcall("GET", KEYS[1])
if type(held) == "table" and held.err and not string.find(held.err, "WRONGTYPE", 1, true) then return held end
if held == ARGV[1] then return ${then} end
return 0`

/** KEYS: the lock. ARGV: value. 1 if it was ours and is deleted. */
export const release = whereOurs(`redis.call("DEL", KEYS[1])`)

/** KEYS: the lock. ARGV: value, expiry in milliseconds. 1 if it was ours and lives on. */
export const extend = whereOurs(`redis.call("PEXPIRE", KEYS[1], ARGV[2])`)

/** KEYS: the lock. Its type, its value where it is a string, and its time to live in milliseconds. */
export const inspect = `local kind = redis.call("TYPE", KEYS[1]).ok
local value = ""
if kind == "string" then value = redis.call("GET", KEYS[1]) end
return {kind, value, redis.call("PTTL", KEYS[1])}`
