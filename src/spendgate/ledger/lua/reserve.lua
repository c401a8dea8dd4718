-- Reserve: hold the estimate of the first candidate that every one of its bounds admits. All or nothing.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  JSON {id, app, ttl (ms), now (ms, 0: Redis' clock),
--                c: [{m: model, e: estimate, f: settled from, b: settled below (-1: no end),
--                     l: [[scope, window, floor, ceiling] ...], k: [fixed, pico-USD a token, least tokens]?,
--                     h: [fees, least for the input, most for it, most for the output, percentile, samples]?}]}
--          The first bound of a candidate is the team's month; floor -1: counted, never refused. f and b are of what
--          the month has settled: what others hold opens no window. h: with so many samples of the app and model,
--          what is held is learned from them; the estimate stays what is charged where nobody settles.
--          r: [digest, most, window (ms), refuses 0|1]?, what was asked: so often it passes within the window.
-- Reply    {candidate (0-based, -1: none), held, output cap (-1: not clamped), settled and reserved of the month
--           with this hold, now, replayed 0|1, refusals [[candidate, bound, settled, reserved, only held 0|1, asked] ...],
--           expired [...], settled and reserved of each bound of the candidate [s, r, s, r, ...],
--           what stands in the bound of the last refusal that only holds made [[age (ms), held] ...],
--           the worst case of what is held, [how often it passed, ms until it may again] if it passed as often as it may}
--          A candidate's refusal names the first bound that would refuse it without any hold, too; where there is
--          none, only holds keep it out, and it names the first that refuses.
-- Replay   an id that is held or has expired gets its first answer again. One that has ended already (its
--          settlement overtook it) gets {0, 0, -1, …}: nothing is held. Nothing moves.

local repeats_key, repeats_ends = prefix .. 'repeats', prefix .. 'repeats:t'
local REPEATS_MAX = 10000                          -- requests that are told apart a team
local SHOWN = 64                                   -- so many holds are looked at to say how long they may take

local ask = cjson.decode(ARGV[1])
local now = clock(ask.now)
local expired = sweep(now, 8)
local today = day_id(now)

local seen = {}
local function counted(counter)
  if not seen[counter] then seen[counter] = balance(counter) end
  return seen[counter]
end
local month = counted(counter_of('month', 'month', now, today))

local looping = nil

local function answer(candidate, held, cap, replayed, refusals, counters, waited, worst)
  local standing, more = {}, replayed == 1 and 0 or held
  for i, c in ipairs(counters) do                  -- numbers of a reply are exact up to 2^53
    local v = counted(c[1])
    standing[2 * i - 1], standing[2 * i] = v[1], v[2] + more
  end
  return {candidate, int(held), int(cap), month[1], month[2] + more, int(now), replayed, refusals, expired,
          standing, waited or {}, int(worst or held), looping or {}}
end

local first = redis.call('HGET', holds_key, ask.id) or redis.call('GET', expired_key(ask.id))
if first then
  local hold = cjson.decode(first)
  return answer(hold.i, hold.e, hold.o, 1, {}, hold.c, nil, hold.w)
end
if ended(ask.id, now, now - 600000) then return answer(0, 0, -1, 1, {}, {}) end

-- The same request again and again: its passes are counted in a window that begins with the first.
local passed, window_ends = 0, nil
if ask.r then
  local known = redis.call('HGET', repeats_key, ask.r[1])
  if known then
    local n, ends = string.match(known, '^(%d+) (%d+)$')
    if tonumber(ends) > now then passed, window_ends = tonumber(n), tonumber(ends) end
  end
  if passed >= ask.r[2] then
    looping = {int(passed), int(window_ends - now)}
    if ask.r[4] == 1 then return answer(-1, 0, -1, 0, {}, {}) end
  end
end

-- It passes once more. What is over is forgotten, and where there are too many, what will be over first.
local function count_pass()
  local gone = redis.call('ZRANGEBYSCORE', repeats_ends, '-inf', int(now), 'LIMIT', 0, 8)
  if not window_ends then
    window_ends = now + ask.r[3]
    if #gone == 0 and redis.call('HLEN', repeats_key) >= REPEATS_MAX then
      gone = redis.call('ZRANGE', repeats_ends, 0, 0)
    end
  end
  for _, digest in ipairs(gone) do
    redis.call('HDEL', repeats_key, digest)
    redis.call('ZREM', repeats_ends, digest)
  end
  redis.call('HSET', repeats_key, ask.r[1], int(passed + 1) .. ' ' .. int(window_ends))
  redis.call('ZADD', repeats_ends, int(window_ends), ask.r[1])
  redis.call('EXPIRE', repeats_key, 2 * DAY_S)
  redis.call('EXPIRE', repeats_ends, 2 * DAY_S)
end

-- What is held for a candidate: its worst case, or what its app's samples say of this model. Both sides are learned
-- apart, so that short answers say nothing of a long input.
local function fit(c)
  local h = c.h
  local sketch = sketch_of(ask.app, c.m, now)
  if not sketch or sketch.n < h[6] then return c.e end
  local input = math.ceil(h[3] * quantile(sketch.i, h[5]) / 1024)
  local output = math.ceil(h[4] * quantile(sketch.o, h[5]) / 1024)
  return math.min(c.e, h[1] + math.max(h[2], input) + output)
end

local function at(bound) return counted(counter_of(bound[1], bound[2], now, today)) end

-- The output tokens that fit below every floor, and the money; holds = 0: as if nothing were held.
local function part_of(c, holds)
  local room = c.w or c.e
  for _, bound in ipairs(c.l) do
    if bound[3] >= 0 then
      local v = at(bound)
      room = math.min(room, bound[3] - v[1] - v[2] * holds)
    end
  end
  local tokens = math.floor((room - c.k[1]) * 1000 / math.max(c.k[2], 1))
  if tokens >= c.k[3] and tokens > 0 then
    return tokens, math.min(room, c.k[1] + math.ceil(tokens * c.k[2] / 1000))
  end
end

-- The bound that refuses a candidate (nil: none does), and whether only holds do.
local function refusal_of(c)
  local refuses, final
  for j, bound in ipairs(c.l) do
    if bound[3] >= 0 then
      local v = at(bound)
      local committed = v[1] + v[2]
      if committed >= bound[3] or committed + c.e > bound[4] then
        refuses = refuses or j
        if not final and (v[1] >= bound[3] or v[1] + c.e > bound[4]) then final = j end
      end
    end
  end
  if final and not (c.k and part_of(c, 0)) then return final, 0 end
  return refuses, 1
end

-- The holds that stand in a counter, the nearest deadline first.
local function in_flight(counter)
  local ids = redis.call('ZRANGE', due_key, 0, SHOWN - 1)
  local out = {}
  if #ids == 0 then return out end
  for _, raw in ipairs(redis.call('HMGET', holds_key, unpack(ids))) do
    if raw then
      local hold = cjson.decode(raw)
      for _, c in ipairs(hold.c) do
        if c[1] == counter then out[#out + 1] = {int(math.max(0, now - hold.t)), hold.e} end
      end
    end
  end
  return out
end

local refusals = {}
local eligible = {}
local chosen, held, cap, worst = nil, 0, -1, nil
local waits_at = nil
for i, c in ipairs(ask.c) do
  if month[1] >= c.f and (c.b < 0 or month[1] < c.b) then
    eligible[#eligible + 1] = i
    if c.h then c.w, c.e = c.e, fit(c) end
    local j, only_held = refusal_of(c)
    if not j then
      chosen, held = i, c.e
      if c.w and c.w > c.e then worst = c.w end
      break
    end
    local v = at(c.l[j])
    refusals[#refusals + 1] = {i - 1, j - 1, int(v[1]), int(v[2]), only_held, int(c.e)}
    if only_held == 1 then waits_at = c.l[j] end
  end
end

if not chosen then                                 -- nothing fits whole: does a useful part?
  for _, i in ipairs(eligible) do
    if ask.c[i].k then
      local tokens, money = part_of(ask.c[i], 1)
      if tokens then
        chosen, cap, held = i, tokens, money
        break
      end
    end
  end
end

if not chosen then
  local waited = waits_at and in_flight(counter_of(waits_at[1], waits_at[2], now, today))
  return answer(-1, 0, -1, 0, refusals, {}, waited)
end

local c = ask.c[chosen]
local counters = {}
for i, bound in ipairs(c.l) do
  counters[i] = {counter_of(bound[1], bound[2], now, today), bound[2]}
  counted(counters[i][1])
  move(counters[i][1], bound[2], 0, held)
end
-- held as text: cjson writes numbers with 14 digits only
local record = cjson.encode({i = chosen - 1, e = int(held), w = worst and int(worst), o = cap, a = ask.app, m = c.m, c = counters,
                             d = today, t = now})
redis.call('HSET', holds_key, ask.id, record)
if ask.r then count_pass() end
redis.call('ZADD', due_key, int(now + ask.ttl), ask.id)
return answer(chosen - 1, held, cap, 0, refusals, counters, nil, worst)
