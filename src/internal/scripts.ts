/**
 * The Lua scripts. Each touches one key and is atomic on its server.
 *
 * `GET` runs under `pcall`, so that a key which is no string counts as "not
 * ours" instead of failing the script; any other error, such as a missing
 * permission, is the script's answer.
 */

const look = `local held = redis.pcall("GET", KEYS[1])
if type(held) == "table" and held.err and not string.find(held.err, "WRONGTYPE", 1, true) then return held end
`

/** KEYS: the lock. ARGV: value. 1 if it was ours and is deleted. */
export const release = `${look}if held == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

/**
 * KEYS: the lock. ARGV: value, expiry in milliseconds, 1 if a key that is gone is
 * to be set again. 1 if it was ours and lives on. Setting it again is no vote: a
 * majority of servers that came back empty must not confirm anything.
 */
export const extend = `${look}if held == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
if held == false and ARGV[3] == "1" then redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) end
return 0`

/** Tells the first in line that it is its turn; those whose process is gone are skipped by the server's own count. */
const wakeNext = `repeat
  local waiter = redis.pcall("LPOP", KEYS[2])
  if type(waiter) ~= "string" then break end
  local heard = redis.pcall("PUBLISH", "redsync:turn:" .. waiter, name)
  if type(heard) ~= "number" then
    redis.call("LPUSH", KEYS[2], waiter)
    woke = 4
  elseif heard > 0 then
    woke = 2
  end
until woke > 0
`

/**
 * KEYS: the lock, its waiting list. ARGV: value, name, our place in the list or
 * "". 1 if it was ours and is deleted, plus 2 if somebody was told or 4 if we may not tell.
 */
export const releaseAndWake = `${look}local name, released, woke = ARGV[2], 0, 0
if held == ARGV[1] then
  released = redis.call("DEL", KEYS[1])
elseif held ~= false then
  return 0
end
if ARGV[3] ~= "" then redis.pcall("LREM", KEYS[2], 0, ARGV[3]) end
${wakeNext}return released + woke`

/** KEYS: the lock, its waiting list. ARGV: name, our place. */
export const leave = `local name, woke = ARGV[1], 0
redis.pcall("LREM", KEYS[2], 0, ARGV[2])
if redis.call("EXISTS", KEYS[1]) == 0 then
${wakeNext}end
return woke`

/**
 * KEYS: the lock, its waiting list. ARGV: our place, "front" or "back". How many
 * wait before us, and the time the lock still has to live in milliseconds. A list
 * that is none, because somebody wrote to it by hand, begins anew.
 */
export const join = `local kind = redis.call("TYPE", KEYS[2]).ok
if kind ~= "list" and kind ~= "none" then redis.call("DEL", KEYS[2]) end
if ARGV[2] == "front" then redis.call("LREM", KEYS[2], 0, ARGV[1]) end
local ahead = redis.call("LPOS", KEYS[2], ARGV[1])
if not ahead then
  if ARGV[2] == "front" then
    redis.call("LPUSH", KEYS[2], ARGV[1])
    ahead = 0
  else
    ahead = redis.call("RPUSH", KEYS[2], ARGV[1]) - 1
  end
end
redis.call("PEXPIRE", KEYS[2], 60000)
return {ahead, redis.call("PTTL", KEYS[1])}`

/** The channel on which a waiter hears that it is its turn. The message is the name of the lock. */
export const turnChannel = (waiter: string): string => `redsync:turn:${waiter}`

/** Redis' hash tag of a key: what stands between its first `{` and the next `}`, unless that is nothing. */
const hashTag = /^[^{]*\{([^}]+)\}/

/**
 * The key of a lock's waiting list: in the same slot of a cluster as the lock,
 * for which the name stands in a hash tag or keeps the one it has.
 */
export const waitingListKey = (name: string): string =>
  hashTag.test(name) ? `redsync:waiting:${name}` : `redsync:waiting:{${name}}`

/** Whether the two are in one slot, which they are not if a `}` ends the tag too soon. */
export const sharesSlot = (name: string): boolean => hashTag.test(name) || !name.includes("}")

/** KEYS: the lock. Its type, its value where it is a string, and its time to live in milliseconds. */
export const inspect = `local kind = redis.call("TYPE", KEYS[1]).ok
local value = ""
if kind == "string" then value = redis.call("GET", KEYS[1]) end
return {kind, value, redis.call("PTTL", KEYS[1])}`
