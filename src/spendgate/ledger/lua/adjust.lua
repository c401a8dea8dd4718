-- Adjust: add an amount (or take it back) beside what exchanges settled. Append-only, all or nothing.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  JSON {id, app, m: model, e: nano-USD as text, u: {kind: n}, q: exchanges, d: day (YYYYMMDD, '': today),
--           s: [scope ...], r: reason, by, now (ms, 0: Redis' clock)}
--          A day of a closed month is booked on today.
--          Money that comes with usage is usage that was missed and counts as such (`$`); money alone stands
--          apart (`~`). Only counters of months are moved. Without scopes it is an accounting entry: it is only
--          written down, and moves neither counters nor cells.
-- Reply    {word, day it was booked on, what its month's settled is now, detail}
--          word: `adjusted`; `replayed` (the same again: nothing moves); `differs` (the id is taken by another
--          adjustment; detail names the first field that differs, in the order e, app, m, d, u, q); `floor`
--          (a counter would fall below zero; detail is its scope); `day` (it is not within the last 400 days;
--          detail is the first and the last that are). Their precedence is replayed, differs, day, floor, adjusted.
-- Replay   an id is known for 400 days.

local ask = cjson.decode(ARGV[1])
local now = clock(ask.now)
local today = day_id(now)
local key = prefix .. 'adj'
local amount = tonumber(ask.e)

local function usage_text(usage)
  local kinds = {}
  for kind, n in pairs(usage) do
    if n ~= 0 then kinds[#kinds + 1] = kind .. '=' .. int(n) end
  end
  table.sort(kinds)
  return table.concat(kinds, ',')
end

local function month_of(day) return redis.call('HGET', prefix .. 'b:month:' .. string.sub(day, 1, 6), 's') or '0' end

local raw = redis.call('HGET', key, ask.id)
if raw then
  local old = cjson.decode(raw)
  local fields = {{'e', old.e, ask.e}, {'app', old.app, ask.app}, {'m', old.m, ask.m}, {'d', old.d, ask.d},
                  {'u', usage_text(old.u), usage_text(ask.u)}, {'q', old.q, ask.q}}
  for _, f in ipairs(fields) do
    if f[2] ~= f[3] then return {'differs', old.b, month_of(old.b), f[1]} end
  end
  return {'replayed', old.b, month_of(old.b), ''}
end
local day = ask.d == '' and today or ask.d
local first_day = day_id(now - DAILY_TTL_S * 1000)
if day > today or day < first_day then return {'day', day, '0', first_day .. ' ' .. today} end

if is_closed(day) then day = today end             -- later corrections fall into the open month

local function counter_on(scope) return 'b:' .. scope .. ':' .. string.sub(day, 1, 6) end
for _, scope in ipairs(ask.s) do
  local settled = tonumber(redis.call('HGET', prefix .. counter_on(scope), 's') or '0')
  if settled + amount < 0 then return {'floor', day, month_of(day), scope} end
end

for _, scope in ipairs(ask.s) do move(counter_on(scope), 'month', amount, 0) end
if #ask.s > 0 then
  count_daily(day, ask.app, ask.m, amount, ask.q, ask.u, usage_text(ask.u) == '' and '~' or '$')
end
local settled = month_of(day)
redis.call('HSET', key, ask.id, cjson.encode({
  e = ask.e, app = ask.app, m = ask.m, d = ask.d, u = ask.u, q = ask.q, r = ask.r, by = ask.by,
  s = ask.s, b = day, t = int(now), n = settled,
}))
redis.call('ZADD', key .. ':t', int(now), ask.id)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', key .. ':t', '-inf', int(now - DAILY_TTL_S * 1000), 'LIMIT', 0, 16)) do
  redis.call('HDEL', key, old)
  redis.call('ZREM', key .. ':t', old)
end
redis.call('EXPIRE', key, DAILY_TTL_S)
redis.call('EXPIRE', key .. ':t', DAILY_TTL_S)
return {'adjusted', day, settled, ''}
