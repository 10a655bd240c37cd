/**
 * The Lua scripts. Each is atomic on its server and accesses the lock's key; some also
 * access its waiting list or fencing counter.
 *
 * `GET` runs under `pcall`, so that a key that is not a string counts as "not ours"
 * instead of failing the script. Any other error, such as a missing permission, is the
 * script's reply.
 */
import { largest, longestValue } from "../nodeContract.ts"

export const readHeld = `local held = redis.pcall("GET", KEYS[1])
if type(held) == "table" and held.err and not string.find(held.err, "WRONGTYPE", 1, true) then return held end
`

/** The remaining time to live of the lock's key in milliseconds. */
const timeToLive = `math.min(redis.call("PTTL", KEYS[1]), ${largest})`

/** KEYS: the lock. ARGV: value. Returns 1 if the key had the value and is deleted. */
export const release = `${readHeld}if held == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

/**
 * The minimum time in milliseconds that the server has been up. Its uptime is the
 * difference of two times in whole seconds: a server that was started at 10.9 s reports
 * 2 s at 12.0 s.
 */
const uptimeAtLeast =
  `1000 * math.max(0, tonumber(string.match(redis.call("INFO", "server"), "uptime_in_seconds:(%d+)")) - 1)`

/**
 * Runs before a new lock is granted. The last argument is the minimum uptime in
 * milliseconds, 0 for none.
 */
export const abstainIfYoung = `local least = tonumber(ARGV[#ARGV])
if least > 0 then
  local up = ${uptimeAtLeast}
  if up < least then return redis.error_reply(string.format("ABSTAINS %.0f %.0f", up, math.ceil(least))) end
end
`

/** KEYS: the lock. ARGV: value, expiry in milliseconds, minimum uptime. Returns 1 if the key was set. */
export const acquire = `${abstainIfYoung}if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then return 1 end
return 0`

/** KEYS: the lock. ARGV: value, new value, expiry in milliseconds. Returns 1 if the key had the value and has the new one now. */
export const replace = `${readHeld}if held ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1`

/**
 * A counter that was modified by hand or cannot be incremented any more is an error,
 * because reusing a token would be unsafe. So is a proposal that cannot be a token, since
 * the counter would keep it for an hour. `proposal` is the index of its argument.
 */
const readCounter = (proposal: number) =>
  `local counter, proposal = redis.call("GET", KEYS[2]) or "0", ARGV[${proposal}]
if not string.find(counter, "^%d+$") or tonumber(counter) >= ${largest} then
  return redis.error_reply("ERR the fencing counter " .. KEYS[2] .. " is no number that can be counted up")
end
if not string.find(proposal, "^%d+$") or tonumber(proposal) > ${largest} then
  return redis.error_reply("ERR what was proposed cannot be a fencing token")
end
counter, proposal = tonumber(counter), tonumber(proposal)
`

/**
 * KEYS: the lock, its fencing counter. ARGV: value, expiry in milliseconds, proposal,
 * time to live of the counter in milliseconds, minimum uptime. Returns the token if the
 * key was set, else 0.
 */
export const acquireFenced = `${abstainIfYoung}${readCounter(3)}local token = math.max(counter + 1, proposal)
if not redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then return 0 end
redis.call("SET", KEYS[2], string.format("%.0f", token), "PX", ARGV[4])
return token`

/**
 * KEYS: the lock, its fencing counter. ARGV: value, new value, expiry in milliseconds,
 * proposal, time to live of the counter in milliseconds. Returns the token if the key
 * had the value and has the new one now, else 0.
 */
export const replaceFenced = `${readHeld}if held ~= ARGV[1] then return 0 end
${readCounter(4)}local token = math.max(counter + 1, proposal)
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
redis.call("SET", KEYS[2], string.format("%.0f", token), "PX", ARGV[5])
return token`

/**
 * KEYS: the lock, its fencing counter. ARGV: value, token, time to live of the counter
 * in milliseconds. Returns 1 if the key has the value, and the counter is at least the
 * token now.
 */
export const raiseCounter = `${readHeld}if held ~= ARGV[1] then return 0 end
${readCounter(2)}redis.call("SET", KEYS[2], string.format("%.0f", math.max(counter, proposal)), "PX", ARGV[3])
return 1`

/** The minimum time in milliseconds that the server has been up. The key selects the server of a cluster. */
export const uptime = `return ${uptimeAtLeast}`

/**
 * KEYS: the lock. ARGV: value, expiry in milliseconds, 1 to set a missing key again.
 * Returns 1 if the key had the value and was extended. Setting a missing key is not a
 * vote: a majority of servers that restarted without their data must not confirm
 * anything.
 */
export const extend = `${readHeld}if held == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
if held == false and ARGV[3] == "1" then redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) end
return 0`

/** Wakes the head of the queue. A waiter whose channel has no subscriber is gone, and skipped. */
const wakeNext = `repeat
  local waiter = redis.pcall("LPOP", KEYS[2])
  if type(waiter) ~= "string" then
    local forbidden = type(waiter) == "table" and
      (string.find(waiter.err, "permissions", 1, true) or string.find(waiter.err, "can't run", 1, true))
    if forbidden and redis.call("PTTL", KEYS[2]) >= 0 then woke = 8 end
    break
  end
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
 * KEYS: the lock, its waiting list. ARGV: value, name, the releasing waiter to remove
 * from the list or "". Returns 1 if the key had the value and is deleted, plus 2 if a
 * waiter was woken, 4 if the user may not publish, or 8 if it may not read the list.
 */
export const releaseAndWake = `${readHeld}local name, released, woke = ARGV[2], 0, 0
if held == ARGV[1] then
  released = redis.call("DEL", KEYS[1])
elseif held ~= false then
  return 0
end
if ARGV[3] ~= "" then redis.pcall("LREM", KEYS[2], 0, ARGV[3]) end
${wakeNext}return released + woke`

/** KEYS: the lock, its waiting list. ARGV: name, waiter. Returns the same flags. */
export const leave = `local name, woke = ARGV[1], 0
redis.pcall("LREM", KEYS[2], 0, ARGV[2])
if redis.call("PTTL", KEYS[1]) == -2 then
${wakeNext}end
return woke`

/**
 * KEYS: the lock, its waiting list. ARGV: waiter, "front" or "back". Returns the number
 * of waiters ahead, and the remaining time to live of the lock in milliseconds. A key
 * that was modified by hand and is not a list is replaced.
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
return {ahead, ${timeToLive}}`

/**
 * KEYS: the lock. Returns its type, its value if it is a string, and its time to live in
 * milliseconds; for a string that is too long, its length in bytes instead of the value.
 * For a user without permission for `STRLEN` the server reads the whole string.
 */
export const inspect = `local kind = redis.call("TYPE", KEYS[1]).ok
local ttl = ${timeToLive}
if kind ~= "string" then return {kind, "", ttl} end
local length, value = redis.pcall("STRLEN", KEYS[1])
if type(length) ~= "number" or length <= ${longestValue} then
  value = redis.call("GET", KEYS[1])
  length = #value
end
if length > ${longestValue} then return {kind, "", ttl, length} end
return {kind, value, ttl}`
