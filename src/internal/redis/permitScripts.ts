/**
 * The Lua scripts of semaphores.
 *
 * A semaphore is one hash: `bits` has a bit for each taken slot, `taken` is the number of these,
 * `soonest` a lower bound of the first expiry, `latest` the last expiry, at which the key expires,
 * and `limit` the limit stated by whoever last took slots. The name of a holder's field is `=` and
 * its value; the field has its expiry, the round in which its slots were settled, and the slots:
 * `1795545273765:1:3,17`. Times are those of the server, in milliseconds since 1970.
 *
 * So the cost of a call depends neither on the limit nor on how many slots are taken, and
 * a holder can be released by its value alone: a client whose reply was lost does not
 * know its slots. Slots are passed as text, since a script can return only some 8,000
 * values one by one.
 */
import { extendedRound, largest, mostSlots } from "../nodeContract.ts"
import { script } from "./client.ts"
import { abstainIfYoung, messages } from "./scripts.ts"

/** The maximum number of slots of expired holders that one call frees; the rest is left to the next call. */
const mostFreed = 512

/**
 * Reads the semaphore, and first removes holders that have expired. KEYS: the semaphore,
 * and, if tokens are needed, the counters of its slots. ARGV: the value, …
 */
const read = `local key, own, time = KEYS[1], "=" .. ARGV[1], redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.call("HMGET", key, "bits", "taken", "soonest", "latest", "limit", own)
local bits, mine = fields[1] or "", fields[6]
local taken, soonest = tonumber(fields[2] or 0), tonumber(fields[3] or 0)
local latest, lastLimit = tonumber(fields[4] or 0), tonumber(fields[5]) or 0

local function numbers(text)
  local list = {}
  for number in string.gmatch(text, "%d+") do list[#list + 1] = tonumber(number) end
  return list
end
local function parse(holder)
  local expiry, round, slots = string.match(holder, "^(%d+):(%d+):([%d,]+)$")
  return tonumber(expiry), tonumber(round), slots
end
local function isFree(slot)
  return math.floor((string.byte(bits, math.floor(slot / 8) + 1) or 0) / 2 ^ (slot % 8)) % 2 == 0
end
-- Takes slots that are free (1), or frees slots that are taken (-1).
local function mark(slots, sign)
  local changes = {}
  for _, slot in ipairs(slots) do
    local at = math.floor(slot / 8) + 1
    changes[at] = (changes[at] or 0) + sign * 2 ^ (slot % 8)
  end
  for at, change in pairs(changes) do
    if #bits < at then bits = bits .. string.rep("\\0", at - #bits) end
    bits = string.sub(bits, 1, at - 1) .. string.char(string.byte(bits, at) + change) .. string.sub(bits, at + 1)
  end
  taken = taken + sign * #slots
end
local function save(gone)
  if taken > 0 then
    redis.call("HSET", key, "bits", bits, "taken", taken, "soonest", soonest)
    redis.call("HDEL", key, unpack(gone))
  else
    redis.call("DEL", key)
    soonest, latest = 0, 0
  end
end
local function hold(slots, round, limit)
  local expiry = now + tonumber(ARGV[2])
  if soonest == 0 or expiry < soonest then soonest = expiry end
  local prolonged = expiry > latest
  if prolonged then latest = expiry end
  redis.call("HSET", key, "bits", bits, "taken", taken, "soonest", soonest, "latest", latest, "limit", limit,
    own, string.format("%.0f:%d:", expiry, round) .. table.concat(slots, ","))
  if prolonged then redis.call("PEXPIREAT", key, latest) end
end

if taken > 0 and soonest <= now then
  local all, gone, freed, first = redis.call("HGETALL", key), {}, {}, 0
  local function expire(field, slots)
    for _, slot in ipairs(numbers(slots)) do freed[#freed + 1] = slot end
    gone[#gone + 1] = field
  end
  if mine then
    local expiry, _, slots = parse(mine)
    if expiry <= now then
      expire(own, slots)
      mine = false
    end
  end
  for i = 1, #all, 2 do
    if #freed >= ${mostFreed} then
      first = soonest
      break
    end
    if string.sub(all[i], 1, 1) == "=" and (mine or all[i] ~= own) then
      local expiry, _, slots = parse(all[i + 1])
      if expiry <= now then
        expire(all[i], slots)
      elseif first == 0 or expiry < first then
        first = expiry
      end
    end
  end
  soonest = first
  mark(freed, -1)
  if first == 0 and taken > 0 then error("attempt to find who has " .. taken .. " slots") end
  -- At once, whatever the call goes on to do.
  if #gone > 0 then save(gone) end
end
`

/** The reply of a script that takes slots. `slots` and `tokens` are lists. */
const grant = (limit: string, slots: string, tokens: string) =>
  `return {${limit} - taken, lastLimit, math.max(0, soonest - now), ${slots}, table.concat(${tokens}, ",")}`

/**
 * The counters of slots. A counter that was modified by hand or cannot be incremented any more is
 * an error, and so is a proposal that cannot be a token. `proposal` is the index of its argument,
 * and the time to live of the counters comes behind it.
 */
const readCounters = (proposal: number) =>
  `local proposal = tonumber(ARGV[${proposal}])
local function counted(slots, isNew)
  if not KEYS[2] or #slots == 0 then return {} end
  local counters = redis.call("HMGET", KEYS[2], unpack(slots))
  for i, slot in ipairs(slots) do
    local counter = counters[i] or "0"
    if not string.find(counter, "^%d+$") or tonumber(counter) >= ${largest} then
      return nil, redis.error_reply("ERR a fencing counter in " .. KEYS[2] .. " is not a number that can be incremented")
    end
    counters[i] = string.format("%.0f", (isNew[slot] or not counters[i]) and math.max(counter + 1, proposal) or counter)
  end
  return counters
end
local function store(slots, tokens)
  if #tokens == 0 then return end
  local entries = {}
  for i, token in ipairs(tokens) do
    entries[#entries + 1] = slots[i]
    entries[#entries + 1] = token
  end
  redis.call("HSET", KEYS[2], unpack(entries))
  redis.call("PEXPIRE", KEYS[2], ARGV[${proposal + 1}])
end
if KEYS[2] and not (string.find(ARGV[${proposal}], "^%d+$") and proposal <= ${largest}) then
  return redis.error_reply("ERR the proposal cannot be a fencing token")
end
`

/**
 * ARGV: value, expiry in milliseconds, limit, permits, start, step, proposal, time to
 * live of the counters, minimum uptime. Returns the limit less the number of taken slots,
 * the last limit, the milliseconds until slots may expire, the slots of the value, "" if
 * it was refused, and their counters.
 *
 * A few slots are tried in the order requested. If most slots are taken, all are then searched byte
 * by byte.
 */
const acquire = `${abstainIfYoung}${read}${readCounters(7)}
local limit, permits, at, step = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if mine then
  local _, _, slots = parse(mine)
  local tokens, problem = counted(numbers(slots), {})
  if problem then return problem end
  ${grant("limit", "slots", "tokens")}
end
if taken + permits > limit then ${grant("limit", `""`, "{}")} end
local slots, isNew, tried = {}, {}, 0
while #slots < permits and tried < 32 and tried < limit do
  if isFree(at) then
    slots[#slots + 1] = at
    isNew[at] = true
  end
  at = (at + step) % limit
  tried = tried + 1
end
local bytes = math.ceil(limit / 8)
local first = math.floor(at / 8)
local map = bits .. string.rep("\\0", bytes - #bits)
local from, last = first + 1, bytes
while #slots < permits do
  local found = string.find(map, "[^\\255]", from)
  if found and found <= last then
    for slot = (found - 1) * 8, math.min(found * 8, limit) - 1 do
      if #slots < permits and not isNew[slot] and isFree(slot) then
        slots[#slots + 1] = slot
        isNew[slot] = true
      end
    end
    from = found + 1
  elseif last == bytes then
    from, last = 1, first
  else
    break
  end
end
if #slots < permits then ${grant("limit", `""`, "{}")} end
local tokens, problem = counted(slots, isNew)
if problem then return problem end
mark(slots, 1)
hold(slots, 1, limit)
store(slots, tokens)
${grant("limit", `table.concat(slots, ",")`, "tokens")}`

/** Sorts the slots in `wanted` into those that the value has, and those that are free; the rest of what it has is in `had`. */
const sort = `local had, kept, new, isNew = {}, {}, {}, {}
if mine then
  local _, _, slots = parse(mine)
  for _, slot in ipairs(numbers(slots)) do had[slot] = true end
end
for _, slot in ipairs(wanted) do
  if had[slot] then
    kept[#kept + 1] = slot
    had[slot] = nil
  elseif mayTake and isFree(slot) then
    new[#new + 1] = slot
    isNew[slot] = true
  end
end
local given, slots = {}, {}
for slot in pairs(had) do given[#given + 1] = slot end
for _, slot in ipairs(kept) do slots[#slots + 1] = slot end
for _, slot in ipairs(new) do slots[#slots + 1] = slot end
`

/** Gives the value exactly `slots`. */
const exchange = (round: string, limit: string) =>
  `mark(new, 1)
mark(given, -1)
if #slots > 0 then
  hold(slots, ${round}, ${limit})
elseif mine then
  save({own})
end
`

/**
 * ARGV: value, expiry in milliseconds, limit, slots, round, proposal, time to live of the
 * counters, minimum uptime. Returns what `acquire` does.
 */
const settle = `${abstainIfYoung}${read}${readCounters(6)}
local limit, wanted, round, mayTake = tonumber(ARGV[3]), numbers(ARGV[4]), tonumber(ARGV[5]), true
if mine then
  local _, settled, slots = parse(mine)
  if settled >= round then
    local tokens, problem = counted(numbers(slots), {})
    if problem then return problem end
    ${grant("limit", "slots", "tokens")}
  end
end
${sort}local tokens, problem = counted(slots, isNew)
if problem then return problem end
${exchange("round", "limit")}store(slots, tokens)
${grant("limit", `table.concat(slots, ",")`, "tokens")}`

/** ARGV: value, expiry in milliseconds, slots, 1 to take missing slots. Returns those of the slots that the value had. */
const extend = `${read}local wanted, mayTake = numbers(ARGV[3]), ARGV[4] == "1"
${sort}${exchange(String(extendedRound), "lastLimit")}return table.concat(kept, ",")`

/** Frees the slots of the value, and lists them in `freed`. */
const free = `local freed = {}
if mine then
  local _, _, slots = parse(mine)
  freed = numbers(slots)
  mark(freed, -1)
  save({own})
end
`

/** ARGV: value. Returns 1 if it had slots. */
const release = `${read}${free}return mine and 1 or 0`

/**
 * Wakes the first in line, for as long as their permits are free, each with a different slot if
 * slots were freed. An entry is the number of permits, a colon, and a value. An entry whose channel
 * has no subscriber belongs to a service that is gone; it is skipped, as is anything that is not an
 * entry. To find out whether a first entry whose permits are not free is such an entry, it is sent
 * a message that means nothing. `limit` is 0 if nobody has slots; all are then free. It is 0 too if
 * all that are taken were taken back by extensions; then as many as were freed count as free, and at
 * least one.
 */
const wakeNext =
  `${messages}local vacant, used = limit > 0 and limit - taken or taken > 0 and math.max(1, #freed) or ${mostSlots}, 0
while true do
  local entry = redis.pcall("LINDEX", KEYS[2], 0)
  if type(entry) ~= "string" then break end
  local permits = isEntry(entry) and tonumber(string.match(entry, "^%d+")) or 0
  if permits > vacant and tell(valueOf(entry), "?") ~= 0 then break end
  if type(redis.pcall("LPOP", KEYS[2])) ~= "string" then break end
  local value, receivers = valueOf(entry), 0
  if isEntry(entry) then
    receivers = tell(value, "P " .. (freed[used + 1] or "-") .. " " .. value .. " " .. name)
  end
  if type(receivers) == "number" and receivers > 0 then
    vacant = vacant - permits
    used = used + permits
  end
end
`

/** KEYS: the semaphore, its line. ARGV: value, name, beginning of the channels. Returns 1 if the value had slots. */
const releaseAndWake = `${read}local name, channels, limit = ARGV[2], ARGV[3], lastLimit
${free}${wakeNext}return mine and 1 or 0`

/** KEYS: the semaphore, its line. ARGV: value of the entry, name, beginning of the channels, entry. */
const leaveLine = `${read}local name, channels, limit, freed = ARGV[2], ARGV[3], lastLimit, {}
redis.call("LREM", KEYS[2], 0, ARGV[4])
${wakeNext}return 1`

/**
 * KEYS: the semaphore, its line. ARGV: value of the entry, entry, limit, permits, "front"
 * or "back". Returns 1 if the entry is the first and its permits are free. A key that was
 * modified by hand and is not a list is replaced.
 */
const joinLine = `${read}local kind = redis.call("TYPE", KEYS[2]).ok
if kind ~= "list" and kind ~= "none" then redis.call("DEL", KEYS[2]) end
if ARGV[5] == "front" then
  redis.call("LREM", KEYS[2], 0, ARGV[2])
  redis.call("LPUSH", KEYS[2], ARGV[2])
elseif not redis.call("LPOS", KEYS[2], ARGV[2]) then
  redis.call("RPUSH", KEYS[2], ARGV[2])
end
redis.call("PEXPIRE", KEYS[2], 60000)
return redis.call("LINDEX", KEYS[2], 0) == ARGV[2] and ARGV[3] - taken >= tonumber(ARGV[4]) and 1 or 0`

/**
 * ARGV: value, slots, tokens, time to live of the counters. Returns those of the slots
 * that the value has; their counters are at least the tokens now.
 */
const raise = `${read}local wanted, tokens, raised, entries, has = numbers(ARGV[2]), numbers(ARGV[3]), {}, {}, {}
if not string.find(ARGV[3], "^[%d,]+$") then
  return redis.error_reply("ERR the proposal cannot be a fencing token")
end
if not mine then return "" end
local _, _, slots = parse(mine)
for _, slot in ipairs(numbers(slots)) do has[slot] = true end
for i, slot in ipairs(wanted) do
  if has[slot] then
    local counter = redis.call("HGET", KEYS[2], slot) or "0"
    if not string.find(counter, "^%d+$") or tonumber(counter) > ${largest} or tokens[i] > ${largest} then
      return redis.error_reply("ERR a fencing counter in " .. KEYS[2] .. " is not a number that can be raised")
    end
    raised[#raised + 1] = slot
    entries[#entries + 1] = slot
    entries[#entries + 1] = string.format("%.0f", math.max(counter, tokens[i]))
  end
end
if #raised > 0 then
  redis.call("HSET", KEYS[2], unpack(entries))
  redis.call("PEXPIRE", KEYS[2], ARGV[4])
end
return table.concat(raised, ",")`

/**
 * ARGV: a value, or "" for all. Returns the last limit, and for each holder its value,
 * the milliseconds until it expires, and its slots. Writes nothing.
 */
const inspect = `local key, time, found = KEYS[1], redis.call("TIME"), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] == "" then
  found = redis.call("HGETALL", key)
else
  local field = "=" .. ARGV[1]
  found = {field, redis.call("HGET", key, field)}
end
local state = {tonumber(redis.call("HGET", key, "limit")) or 0}
for i = 1, #found, 2 do
  if string.sub(found[i], 1, 1) == "=" and found[i + 1] then
    local expiry, slots = string.match(found[i + 1], "^(%d+):%d+:([%d,]+)$")
    if tonumber(expiry) > now then
      state[#state + 1] = string.sub(found[i], 2)
      state[#state + 1] = expiry - now
      state[#state + 1] = slots
    end
  end
end
return state`

export const permitScripts = {
  acquire: script(acquire, { sets: 0 }),
  settle: script(settle, { sets: 0 }),
  // Does not take missing slots again: a release may have freed them.
  extend: script(extend, { argsIfResent: ([value, expiryMillis, slots]) => [value!, expiryMillis!, slots!, 0] }),
  release: script(release, { deletes: 0 }),
  releaseAndWake: script(releaseAndWake, { deletes: 0 }),
  joinLine: script(joinLine),
  leaveLine: script(leaveLine),
  raise: script(raise),
  inspect: script(inspect)
}
