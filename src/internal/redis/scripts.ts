/**
 * The Lua scripts. Each is atomic on its server and accesses the lock's key; some also
 * access its waiting list or fencing counter.
 *
 * `GET` runs under `pcall`, so that a key that is not a string counts as "not ours"
 * instead of failing the script. Any other error, such as a missing permission, is the
 * script's reply. A line calls one command, since servers may name the line instead of the command.
 */
import { largest, longestValue, serviceIdLength, sharedMarker } from "../nodeContract.ts"

export const readHeld = `local held = redis.pcall("GET", KEYS[1])
if type(held) == "table" and held.err and not string.find(held.err, "WRONGTYPE", 1, true) then return held end
`

/** Whether the key has a value of the library's form, so that its holder may have a channel. */
export const isOurs = `type(held) == "string" and #held == 28 and string.find(held, "^[%w+/]+$")`

/** The remaining time to live of the lock's key in milliseconds. */
const timeToLive = `math.min(redis.call("PTTL", KEYS[1]), ${largest})`

/** KEYS: the lock. ARGV: value. Returns 1 if the key had the value and is deleted. */
export const release = `${readHeld}if held == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

/**
 * The minimum time in milliseconds that the server has been up. Its uptime is the
 * difference of two times in whole seconds: a server that was started at 10.9 s reports
 * 2 s at 12.0 s. It is negative if its clock was set back to before its start.
 */
const uptimeAtLeast =
  `1000 * math.max(0, tonumber(string.match(redis.call("INFO", "server"), "uptime_in_seconds:(-?%d+)")) - 1)`

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
 * the counter would keep it for an hour. `proposal` is the index of its argument,
 * `key` that of the counter.
 */
export const readCounter = (proposal: number, key = 2) =>
  `local counter, proposal = redis.call("GET", KEYS[${key}]) or "0", ARGV[${proposal}]
if not string.find(counter, "^%d+$") or tonumber(counter) >= ${largest} then
  return redis.error_reply("ERR the fencing counter " .. KEYS[${key}] .. " is not a number that can be incremented")
end
if not string.find(proposal, "^%d+$") or tonumber(proposal) > ${largest} then
  return redis.error_reply("ERR the proposal cannot be a fencing token")
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

/**
 * Sends messages to the service that a value belongs to, on its channel. `channels` is what all
 * channels begin with. An entry of a list ends with a colon and the value. Anything else, put there
 * by hand, is ignored, since it could be mistaken for several fields of a message.
 */
export const messages = `local function isEntry(entry)
  return type(entry) == "string" and #entry <= ${longestValue} and string.find(entry, "^%a?%d+f?:[%w+/]+$")
end
local function valueOf(entry) return string.match(entry, ":(.*)$") end
local function tell(value, message)
  return redis.pcall("PUBLISH", channels .. string.sub(value, 1, ${serviceIdLength}), message)
end
local function first()
  local entry = redis.pcall("LINDEX", KEYS[2], 0)
  return isEntry(entry) and entry or "-"
end
`

/**
 * Wakes the next in line. An entry whose channel has no subscriber belongs to a service that is
 * gone, and is skipped, as is anything that is not an entry.
 */
export const wakeNext = `repeat
  local entry = redis.pcall("LPOP", KEYS[2])
  if type(entry) ~= "string" then
    local forbidden = type(entry) == "table" and not string.find(entry.err, "WRONGTYPE", 1, true)
    if forbidden and redis.call("PTTL", KEYS[2]) >= 0 then woke = 8 end
    break
  end
  local receivers = 0
  if isEntry(entry) then
    local value = valueOf(entry)
    receivers = tell(value, "W " .. value .. " " .. first() .. " " .. name)
  end
  if type(receivers) ~= "number" then
    redis.call("LPUSH", KEYS[2], entry)
    woke = 4
  elseif receivers > 0 then
    woke = 2
  end
until woke > 0
`

const ifVacant = `if released + woke == 0 then return 32 end
`

/**
 * KEYS: the lock, its waiting list. ARGV: value, name, beginning of the channels, an
 * entry to remove or "". Returns 1 if the key had the value and is deleted, plus 2 if a
 * waiter was woken, 4 if the user may not publish, or 8 if it may not take entries out of the list;
 * 32 if there was neither a key nor anybody to wake.
 */
export const releaseAndWake = `${readHeld}local name, channels, released, woke = ARGV[2], ARGV[3], 0, 0
if held == ARGV[1] then
  released = redis.call("DEL", KEYS[1])
elseif held ~= false then
  return 0
end
if ARGV[4] ~= "" then redis.pcall("LREM", KEYS[2], 0, ARGV[4]) end
${messages}${wakeNext}${ifVacant}return released + woke`

/**
 * KEYS: the lock. ARGV: name, a pattern of the channels. Sends a message to all services that
 * listen. Returns 1.
 */
export const alert = `local channels = redis.call("PUBSUB", "CHANNELS", ARGV[2])
for _, channel in ipairs(channels) do redis.call("PUBLISH", channel, "L " .. ARGV[1]) end
return 1`

/**
 * KEYS: the lock, its waiting list. ARGV: name, beginning of the channels, the entry to remove.
 * Returns the flags of `releaseAndWake`. A lock that was handed over to the entry is deleted. If
 * the lock is held and the entry was the first, or is missing because it was woken as the first,
 * notifies the holder and the new first.
 */
export const leave = `local name, channels, released, woke = ARGV[1], ARGV[2], 0, 0
${messages}local wasFirst = first() == ARGV[3]
wasFirst = redis.pcall("LREM", KEYS[2], 0, ARGV[3]) == 0 or wasFirst
local held = redis.pcall("GET", KEYS[1])
if held == valueOf(ARGV[3]) then
  released = redis.call("DEL", KEYS[1])
  held = false
end
if held == false then
${wakeNext}elseif wasFirst then
  local successor = first()
  if ${isOurs} then tell(held, "J " .. held .. " " .. successor .. " " .. name) end
  if successor ~= "-" then tell(valueOf(successor), "F 0 " .. valueOf(successor) .. " " .. name) end
end
return released + woke`

/**
 * KEYS: the lock, its waiting list. ARGV: entry, "front" or "back", name, beginning of the
 * channels, an entry to remove or "". Returns the number of entries ahead, the remaining time to
 * live of the lock in milliseconds, 1 if the holder was notified that the entry is the first or 2
 * if readers hold the lock, 1 if the lock has the value of the entry already, and the server's time
 * if the user may read it. A key that was modified by hand and is not a list is replaced.
 */
export const join = `${readHeld}local name, channels = ARGV[3], ARGV[4]
${messages}local time = redis.pcall("TIME")
if held == valueOf(ARGV[1]) then return {0, ${timeToLive}, 1, 1, time[1], time[2]} end
local kind = redis.call("TYPE", KEYS[2]).ok
if kind ~= "list" and kind ~= "none" then redis.call("DEL", KEYS[2]) end
if ARGV[5] ~= "" then redis.call("LREM", KEYS[2], 0, ARGV[5]) end
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
local told = 0
if ahead == 0 and ${isOurs} then
  local receivers = tell(held, "J " .. held .. " " .. ARGV[1] .. " " .. name)
  if type(receivers) == "number" and receivers > 0 then told = 1 end
end
if held == "${sharedMarker}" then told = 2 end
return {ahead, ${timeToLive}, told, 0, time[1], time[2]}`

/**
 * Returns early unless the key has the value and the server has been up for long enough. If the
 * server has not, the key is deleted.
 */
const beforeTransfer = `${readHeld}local name, channels, released, woke = ARGV[4], ARGV[5], 0, 0
${messages}local least = tonumber(ARGV[#ARGV])
if held == ARGV[1] and least > 0 and ${uptimeAtLeast} < least then
  released = redis.call("DEL", KEYS[1])
  held = false
end
if held ~= ARGV[1] then
  if held == false then
${wakeNext}${ifVacant}  end
  return released + woke
end
`

/**
 * Hands the lock over; `token` is set, and `count` stores it. The key expires at a time counted
 * from the time reported to the successor, even if the server stops in between. A server that is
 * out of memory lets a script continue once it has written something, hence the deletion before the
 * second attempt.
 */
const handOver = `local time = redis.call("TIME")
local millis = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local value, following = valueOf(ARGV[2]), "-"
if redis.call("TYPE", KEYS[2]).ok == "list" then
  redis.call("LREM", KEYS[2], 0, ARGV[2])
  following = redis.call("LINDEX", KEYS[2], 0)
  if not isEntry(following) then following = "-" end
end
local function set()
  local done = count()
  if done.err then return done end
  return redis.pcall("SET", KEYS[1], value, "PXAT", string.format("%.0f", millis + ARGV[3]))
end
local done = set()
if done.err then
  redis.call("DEL", KEYS[1])
  done = set()
end
if not done.err then
  local receivers = tell(value, table.concat(
    {"T", value, string.format("%.0f", millis), ARGV[3], ARGV[6], ARGV[7], token, following, name}, " "))
  if type(receivers) == "number" and receivers > 0 then
    if following ~= "-" then
      tell(valueOf(following), "F " .. ARGV[3] .. " " .. valueOf(following) .. " " .. name)
    end
    return 19
  end
  redis.call("DEL", KEYS[1])
end
released = 1
${wakeNext}return released + woke`

/**
 * KEYS: the lock, its waiting list. ARGV: value, entry of the successor, expiry in milliseconds,
 * name, beginning of the channels, length and age of the chain, minimum uptime. Returns the flags
 * of `releaseAndWake`, or 19 if the key has the successor's value now. If the successor cannot be
 * notified, the key is deleted.
 */
export const transfer = `${beforeTransfer}local token = "-"
local function count() return {} end
${handOver}`

/**
 * KEYS: the lock, its waiting list, its fencing counter. ARGV: as `transfer`, with the proposal and
 * the time to live of the counter in milliseconds before the minimum uptime. If the counter cannot
 * be incremented, the key is deleted, since the successor cannot have a token.
 */
export const transferFenced = `${beforeTransfer}local counter, proposal = redis.pcall("GET", KEYS[3]) or "0", ARGV[8]
if type(counter) ~= "string" or not string.find(counter, "^%d+$") or tonumber(counter) >= ${largest} then
  released = redis.call("DEL", KEYS[1])
  ${wakeNext}  return released + woke
end
local token = string.format("%.0f", math.max(counter + 1, proposal))
local function count() return redis.pcall("SET", KEYS[3], token, "PX", ARGV[9]) end
${handOver}`

/** The server's time. The key selects the server of a cluster. */
export const time = `return redis.call("TIME")`

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
