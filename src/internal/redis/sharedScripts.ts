/**
 * The Lua scripts of shared locks.
 *
 * While a lock is held by readers, its key has a constant value, the marker, which all other
 * programs take for the value of a holder. The readers are in a companion key, a sorted set ordered
 * by expiry, and the lock's key expires when the last of them does. The set counts only while the
 * marker is there; setting the marker deletes what may be left of an earlier set. Times are those
 * of the server, in milliseconds since 1970.
 *
 * A hash remembers until when a writer (`w`) and a reader (`r`) wait. It only decides whose turn is
 * next, never who may hold the lock. A writer that leaves the lock to readers sets the marker with
 * a member that is not a reader, `*`. Until that expires, readers are admitted whether or not a
 * writer waits.
 */
import { largest, sharedMarker } from "../nodeContract.ts"
import { script } from "./client.ts"
import { abstainIfYoung, isOurs, messages, readCounter, readHeld, wakeNext } from "./scripts.ts"

/** The maximum number of readers listed. */
const mostListed = 100

/** KEYS: the lock, …, its readers at `index`, and the turns behind them. */
const readAt = (index: number) =>
  `${readHeld}local marker, readers, turns, time = "${sharedMarker}", KEYS[${index}], KEYS[${
    index + 1
  }], redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function isLive(value)
  local expiry = redis.call("ZSCORE", readers, value)
  return expiry and tonumber(expiry) > now
end
-- The key lives as long as its last reader.
local function last()
  return redis.call("ZRANGE", readers, -1, -1, "WITHSCORES")[2]
end
local function join(value, millis)
  local expiry = string.format("%.0f", now + millis)
  if held == marker then
    redis.call("ZADD", readers, expiry, value)
    expiry = last()
    redis.call("PEXPIREAT", KEYS[1], expiry)
  else
    redis.call("SET", KEYS[1], marker, "PXAT", expiry)
    redis.call("DEL", readers)
    redis.call("ZADD", readers, expiry, value)
  end
  redis.call("PEXPIREAT", readers, expiry)
end
local function waitsUntil(kind)
  return tonumber(redis.call("HGET", turns, kind) or 0)
end
local function waits(kind, millis)
  if millis <= 0 then return end
  redis.call("HSET", turns, kind, string.format("%.0f", now + millis))
  local left = redis.call("PTTL", turns)
  if left < millis then redis.call("PEXPIRE", turns, millis) end
end
`

const read = readAt(2)

/** If a writer holds the lock or waits for it, returns 0 and remembers for ARGV[3] milliseconds that a reader waits. */
const refuseBehindWriter = `if (held ~= false and held ~= marker) or
  (waitsUntil("w") > now and not (held == marker and isLive("*"))) then
  waits("r", tonumber(ARGV[3]))
  return 0
end
`

/**
 * KEYS: the lock, its readers, the turns. ARGV: value, expiry in milliseconds, for how many
 * milliseconds the reader waits if it is refused, minimum uptime. Returns 1 if the value is a reader now.
 */
const acquire = `${abstainIfYoung}${read}${refuseBehindWriter}join(ARGV[1], tonumber(ARGV[2]))
return 1`

/**
 * KEYS: the lock, its readers, the turns, its fencing counter. ARGV: as `acquire`, with the proposal
 * and the time to live of the counter in milliseconds before the minimum uptime. Returns the
 * counter if the value is a reader now, else 0. A counter that is missing begins with the proposal.
 */
const acquireFenced = `${abstainIfYoung}${read}${refuseBehindWriter}${readCounter(4, 4)}if counter == 0 then
  counter = math.max(1, proposal)
  redis.call("SET", KEYS[4], string.format("%.0f", counter), "PX", ARGV[5])
end
join(ARGV[1], tonumber(ARGV[2]))
return counter`

/**
 * KEYS: the lock, its readers, the turns, its fencing counter. ARGV: value, token, time to
 * live of the counter in milliseconds. Returns 1 if the value is a reader, and the counter is at least the token now.
 */
const raise = `${read}if held ~= marker or not isLive(ARGV[1]) then return 0 end
${readCounter(2, 4)}redis.call("SET", KEYS[4], string.format("%.0f", math.max(counter, proposal)), "PX", ARGV[3])
return 1`

/**
 * KEYS: the lock, its readers, the turns. ARGV: value, expiry in milliseconds, 1 to restore a
 * missing reader. Returns 1 if the value was a reader and was extended. Restoring a missing reader
 * is not a vote, as in `extend` of `scripts.ts`.
 */
const extend = `${read}local extended = held == marker and isLive(ARGV[1])
if extended or ((held == false or held == marker) and ARGV[3] == "1") then join(ARGV[1], tonumber(ARGV[2])) end
return extended and 1 or 0`

/**
 * KEYS: the lock, its readers, the turns. ARGV: value. Returns 1 if the value was a reader. Without
 * readers the key is deleted.
 */
const release = `${read}if held ~= marker then return 0 end
local released = isLive(ARGV[1])
if redis.call("ZREM", readers, ARGV[1]) == 0 then return 0 end
redis.call("ZREMRANGEBYSCORE", readers, "-inf", now)
local expiry = last()
if expiry then
  redis.call("PEXPIREAT", KEYS[1], expiry)
  redis.call("PEXPIREAT", readers, expiry)
else
  redis.call("DEL", KEYS[1], readers)
end
return released and 1 or 0`

/**
 * KEYS: the lock, its readers, the turns. ARGV: a writer's value, the value of a reader, expiry in
 * milliseconds. Returns 1 if the key had the writer's value, which is now replaced with the reader.
 * If the writer's key was missing, the reader is not a vote, since another client may have held the
 * lock meanwhile.
 */
const downgrade = `${read}local had = held == ARGV[1]
if had or held == false or held == marker then join(ARGV[2], tonumber(ARGV[3])) end
return had and 1 or 0`

/**
 * KEYS: the lock, its readers, the turns. ARGV: a writer's value, grace in milliseconds. Returns 1
 * if the key had the value and is deleted or, if a reader waits, kept for readers during the grace.
 */
const yieldToReaders = `${read}if held ~= ARGV[1] then return 0 end
if waitsUntil("r") <= now then return redis.call("DEL", KEYS[1]) end
redis.call("HDEL", turns, "r")
join("*", tonumber(ARGV[2]))
return 1`

/**
 * KEYS: the lock, its waiting list, its readers, the turns. ARGV: a writer's value, grace in
 * milliseconds, name, beginning of the channels. Returns the flags of `releaseAndWake`. If the key
 * is kept for readers, notifies the first in line, which then waits for them.
 */
const yieldInLine = `${readAt(3)}local name, channels, released, woke = ARGV[3], ARGV[4], 0, 0
${messages}if held == ARGV[1] then
  released = 1
  if waitsUntil("r") > now then
    redis.call("HDEL", turns, "r")
    join("*", tonumber(ARGV[2]))
    local successor = first()
    if successor ~= "-" then tell(valueOf(successor), "F 0 " .. valueOf(successor) .. " " .. name) end
    return released
  end
  redis.call("DEL", KEYS[1])
elseif held ~= false then
  return 0
end
${wakeNext}return released + woke`

/**
 * KEYS: the lock. ARGV: name, beginning of the channels. Notifies the holder that readers wait.
 * Returns 1 if there is a holder.
 */
const watch = `${readHeld}local name, channels = ARGV[1], ARGV[2]
${messages}if ${isOurs} then tell(held, "R " .. held .. " " .. name) end
return held and 1 or 0`

/**
 * KEYS: the lock, its readers, the turns. ARGV: for how many milliseconds a writer waits, 0 if it
 * no longer does. Returns 1.
 */
const announce = `${read}if ARGV[1] == "0" then redis.call("HDEL", turns, "w") else waits("w", tonumber(ARGV[1])) end
return 1`

/**
 * KEYS: the lock, its readers, the turns. ARGV: a value, or "" for all. Returns the number of
 * readers, the milliseconds for which a writer waits, and for some of the readers, or the given
 * one, the value and the milliseconds until it expires. Writes nothing.
 */
const inspect = `${read}local state = {0, math.max(0, waitsUntil("w") - now)}
if held ~= marker then return state end
state[1] = redis.call("ZCOUNT", readers, "(" .. now, "+inf") - (isLive("*") and 1 or 0)
local listed
if ARGV[1] == "" then
  listed = redis.call("ZRANGEBYSCORE", readers, "(" .. now, "+inf", "WITHSCORES", "LIMIT", 0, ${mostListed + 1})
else
  listed = isLive(ARGV[1]) and {ARGV[1], redis.call("ZSCORE", readers, ARGV[1])} or {}
end
for i = 1, #listed, 2 do
  if listed[i] ~= "*" and #state < ${2 + 2 * mostListed} then
    state[#state + 1] = listed[i]
    state[#state + 1] = math.min(tonumber(listed[i + 1]) - now, ${largest})
  end
end
return state`

export const sharedScripts = {
  acquire: script(acquire, { sets: 0 }),
  acquireFenced: script(acquireFenced, { sets: 0 }),
  raise: script(raise),
  // Does not make a missing value a reader again: a release may have removed it.
  extend: script(extend, { argsIfResent: ([value, expiryMillis]) => [value!, expiryMillis!, 0] }),
  release: script(release, { deletes: 0 }),
  downgrade: script(downgrade, { sets: 1 }),
  yieldToReaders: script(yieldToReaders, { deletes: 0 }),
  yieldInLine: script(yieldInLine, { deletes: 0 }),
  watch: script(watch),
  announce: script(announce),
  inspect: script(inspect)
}
