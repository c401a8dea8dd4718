-- Reserve: hold the estimate of the first candidate that every one of its bounds admits. All or nothing.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  JSON {id, app, ttl (ms), now (ms, 0: Redis' clock),
--                c: [{m: model, e: estimate, f: committed from, b: committed below (-1: no end),
--                     l: [[scope, window, floor, ceiling] ...], k: [fixed, pico-USD a token, least tokens]?}]}
--          The first bound of a candidate is the team's month; floor -1: counted, never refused.
-- Reply    {candidate (0-based, -1: none), held, output cap (-1: not clamped), committed of the month with
--           this hold, now, replayed 0|1, refusals [[candidate, bound, committed] ...], expired [...]}
-- Replay   an id that is held or has expired gets its first answer again. One that has ended already (its
--          settlement overtook it) gets {0, 0, -1, …}: nothing is held. Nothing moves.

local ask = cjson.decode(ARGV[1])
local now = clock(ask.now)
local expired = sweep(now, 8)
local today = day_id(now)
local committed_month = committed_at(counter_of('month', 'month', now, today))

local function answer(candidate, held, cap, committed, replayed, refusals)
  return {candidate, int(held), int(cap), int(committed), int(now), replayed, refusals, expired}
end

local first = redis.call('HGET', holds_key, ask.id) or redis.call('GET', expired_key(ask.id))
if first then
  local hold = cjson.decode(first)
  return answer(hold.i, hold.e, hold.o, committed_month, 1, {})
end
if ended(ask.id, now, now - 600000) then return answer(0, 0, -1, committed_month, 1, {}) end

local seen = {}
local function committed_of(bound)
  local counter = counter_of(bound[1], bound[2], now, today)
  if not seen[counter] then seen[counter] = committed_at(counter) end
  return seen[counter]
end

local refusals = {}
local eligible = {}
local chosen, held, cap = nil, 0, -1
for i, c in ipairs(ask.c) do
  if committed_month >= c.f and (c.b < 0 or committed_month < c.b) then
    eligible[#eligible + 1] = i
    local refused = nil
    for j, bound in ipairs(c.l) do
      if bound[3] >= 0 then
        local committed = committed_of(bound)
        if committed >= bound[3] or committed + c.e > bound[4] then
          refused = {i - 1, j - 1, int(committed)}
          break
        end
      end
    end
    if not refused then
      chosen, held = i, c.e
      break
    end
    refusals[#refusals + 1] = refused
  end
end

if not chosen then                                 -- nothing fits whole: does a useful part?
  for _, i in ipairs(eligible) do
    local c = ask.c[i]
    if c.k then
      local room = c.e
      for _, bound in ipairs(c.l) do
        if bound[3] >= 0 then room = math.min(room, bound[3] - committed_of(bound)) end
      end
      local tokens = math.floor((room - c.k[1]) * 1000 / math.max(c.k[2], 1))
      if tokens >= c.k[3] and tokens > 0 then
        chosen, cap = i, tokens
        held = math.min(room, c.k[1] + math.ceil(tokens * c.k[2] / 1000))
        break
      end
    end
  end
end

if not chosen then return answer(-1, 0, -1, committed_month, 0, refusals) end

local c = ask.c[chosen]
local counters = {}
for i, bound in ipairs(c.l) do
  counters[i] = {counter_of(bound[1], bound[2], now, today), bound[2]}
  move(counters[i][1], bound[2], 0, held)
end
-- held as text: cjson writes numbers with 14 digits only
local record = cjson.encode({i = chosen - 1, e = int(held), o = cap, a = ask.app, m = c.m, c = counters,
                             d = today, t = now})
redis.call('HSET', holds_key, ask.id, record)
redis.call('ZADD', due_key, int(now + ask.ttl), ask.id)
return answer(chosen - 1, held, cap, committed_month + held, 0, refusals)
