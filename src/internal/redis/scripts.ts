/**
 * The Lua scripts. Each is atomic on its server and touches the lock's key, some
 * also its waiting list or fencing counter beside it.
 *
 * `GET` runs under `pcall`, so that a key which is no string counts as "not
 * ours" instead of failing the script; any other error, such as a missing
 * permission, is the script's answer.
 */
import { largest, longestValue } from "../nodeContract.ts"

export const readHeld = `local held = redis.pcall("GET", KEYS[1])
if type(held) == "table" and held.err and not string.find(held.err, "WRONGTYPE", 1, true) then return held end
`

/** How long the lock's key still has, in milliseconds. */
const timeToLive = `math.min(redis.call("PTTL", KEYS[1]), ${largest})`

/** KEYS: the lock. ARGV: value. 1 if it was ours and is deleted. */
export const release = `${readHeld}if held == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

/**
 * For how many milliseconds the server has been up at least. Its uptime is the
 * difference of two times in whole seconds: a server that was started at 10.9 s says
 * at 12.0 s that it has been up for 2 s.
 */
const uptimeAtLeast =
  `1000 * math.max(0, tonumber(string.match(redis.call("INFO", "server"), "uptime_in_seconds:(%d+)")) - 1)`

/**
 * Before a new lock is granted: how long the server has to be up for that, in
 * milliseconds, is the last argument, 0 for any.
 */
const abstainIfYoung = `local least = tonumber(ARGV[#ARGV])
if least > 0 then
  local up = ${uptimeAtLeast}
  if up < least then return redis.error_reply(string.format("ABSTAINS %.0f %.0f", up, math.ceil(least))) end
end
`

/** KEYS: the lock. ARGV: value, expiry in milliseconds, the least uptime. 1 if it is ours now. */
export const acquire = `${abstainIfYoung}if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then return 1 end
return 0`

/** KEYS: the lock. ARGV: value, new value, expiry in milliseconds. 1 if it was ours and has the new value now. */
export const replace = `${readHeld}if held ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1`

/**
 * A counter that somebody has written to by hand, or that can count no further, grants
 * nothing: a token must not repeat. Nor does a proposal that could not be a token, the
 * argument of that number: the counter would keep it for an hour.
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
 * how long the counter lives in milliseconds, the least uptime. The token if it is ours now, else 0.
 */
export const acquireFenced = `${abstainIfYoung}${readCounter(3)}local token = math.max(counter + 1, proposal)
if not redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then return 0 end
redis.call("SET", KEYS[2], string.format("%.0f", token), "PX", ARGV[4])
return token`

/**
 * KEYS: the lock, its fencing counter. ARGV: value, new value, expiry in milliseconds,
 * proposal, how long the counter lives in milliseconds. The token if it was ours and has the new value now, else 0.
 */
export const replaceFenced = `${readHeld}if held ~= ARGV[1] then return 0 end
${readCounter(4)}local token = math.max(counter + 1, proposal)
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
redis.call("SET", KEYS[2], string.format("%.0f", token), "PX", ARGV[5])
return token`

/**
 * KEYS: the lock, its fencing counter. ARGV: value, token, how long the counter
 * lives in milliseconds. 1 if the lock is ours and its counter at least the token.
 */
export const raiseCounter = `${readHeld}if held ~= ARGV[1] then return 0 end
${readCounter(2)}redis.call("SET", KEYS[2], string.format("%.0f", math.max(counter, proposal)), "PX", ARGV[3])
return 1`

/** For how long the server has been up at least, in milliseconds. The key says which server of a cluster is meant. */
export const uptime = `return ${uptimeAtLeast}`

/**
 * KEYS: the lock. ARGV: value, expiry in milliseconds, 1 if a key that is gone is
 * to be set again. 1 if it was ours and lives on. Setting it again is no vote: a
 * majority of servers that came back empty must not confirm anything.
 */
export const extend = `${readHeld}if held == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
if held == false and ARGV[3] == "1" then redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) end
return 0`

/** Tells the first in line that it is its turn; those whose process is gone are skipped by the server's own count. */
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
 * KEYS: the lock, its waiting list. ARGV: value, name, our place in the list or
 * "". 1 if it was ours and is deleted, plus 2 if somebody was told, or 4 if we may not
 * tell, or 8 if we may not even see who is next.
 */
export const releaseAndWake = `${readHeld}local name, released, woke = ARGV[2], 0, 0
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
if redis.call("PTTL", KEYS[1]) == -2 then
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
return {ahead, ${timeToLive}}`

/**
 * KEYS: the lock. Its type, its value where it is a string, and its time to live in
 * milliseconds; of a string that is too long its length in bytes instead of its value.
 * A user who may not ask for the length makes the server read the whole string for that.
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
