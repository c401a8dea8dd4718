-- Reserve: hold the estimate of the first candidate that every one of its bounds admits. All or nothing.
--
-- KEYS[1]  sg1:{team}:holds; more: those of the groups that it is in, where all are on one server
-- ARGV[1]  JSON {id, app, ttl (ms), now (ms, 0: Redis' clock), again: replace what is held under this id?,
--                team: for the groups' cells, ro: is anything carried over?, i: the number of its first candidate?,
--                r: [digest, most, window (ms), refuses 0|1]?, what was asked: so often it passes within the window,
--                w: [[start (s) ...] ...]?, windows that the ledger does not know: a few of their periods,
--                c: [{m: model, e: estimate, t: tokens, f: settled from, b: settled below (-1: no end),
--                     o: what it costs itself, to be taken from f and b when cp parts (of 10,000) of what is
--                     carried over were added to them (left out: it is taken from them already),
--                     l: [[scope, window, floor, ceiling, more?] ...],
--                     k: [fixed, pico-USD a token, least tokens]?,
--                     h: [fees, least for the input, most for it, most for the output, percentile, samples]?}]}
--          h: with so many samples of the app and model, what is held is learned from them; the estimate stays what
--          is charged where nobody settles.
--          The first bound of a candidate is the team's month; floor -1: counted, never refused. f and b are of what
--          the month has settled: what others hold opens no window. A window may be a number of w, and is the period
--          there that the clock is in. more: {g: its account, a number of KEYS; x: what the scopes of all values of its
--          limit begin with; p: [budget, most, part of floor, part of ceiling], carried over}
-- Reply    {candidate (0-based, -1: none), held, output cap (-1: not clamped), settled and reserved of the month
--           with this hold, now, replayed 0|1, refusals [[candidate, bound, settled, reserved, only held 0|1, asked] ...],
--           expired [...], settled and reserved of each bound of the candidate [s, r, s, r, ...],
--           what stands in the bound of the last refusal that only holds made, as text `age (ms) held …`,
--           the worst case of what is held, [how often it passed, ms until it may again] if it passed as often as it
--           may, what is carried over of last month, by account [nano-USD ...]}
--          Of the short way, as text: now, settled and reserved of each bound of the first candidate (the month's first),
--          which is held whole.
--          A candidate's refusal names the first bound that would refuse it without any hold, too; where there is
--          none, only holds keep it out, and it names the first that refuses.
-- Replay   an id that is held or has expired gets its first answer again. One that has ended already (its
--          settlement overtook it) gets {0, 0, -1, …}: nothing is held. Nothing moves.

local ask = cjson.decode(ARGV[1])
local now = clock(ask.now)
local today = day_id(now)

-- In the place of w's windows the period of each that it is now, `START-END`.
if ask.w then
  for n, window in ipairs(ask.w) do
    local i = #window - 1
    while i > 1 and now < window[i] * 1000 do i = i - 1 end
    ask.w[n] = int(window[i]) .. '-' .. int(window[i + 1])
  end
end

-- The window of a bound, and its counter.
local function place_of(bound)
  local window = bound[2]
  if type(window) == 'number' then window = ask.w[window] end
  local counter = counter_of(bound[1], window, now, today)
  return counter, window
end

-- What a candidate needs of a counter of some unit.
local function need_of(c, unit)
  local need = c.e
  if unit then need = unit == 't' and (c.t or 0) or exchanges_of(ask.id) end
  return need
end

-- What is settled and reserved in a place where so much money is held.
local function taken_in(p, held)
  local settles, holds = 0, held
  if p[5] then settles, holds = p[5] == 'r' and p[4] or 0, p[5] == 't' and p[4] or 0 end
  return settles, holds
end

-- Does a counter that has committed so much refuse what is needed of it?
local function is_full(committed, need, bound)
  return committed >= bound[3] or committed + need > bound[4]
end

-- Is what the month has settled within a candidate's window?
local function is_open(c, month)
  if month[1] >= c.f and (c.b < 0 or month[1] < c.b) then return true end
end

-- held as text: cjson writes numbers with 14 digits only
local function record_of(c, chosen, held, worst, cap, counters)
  return {i = (ask.i or 0) + chosen - 1, e = int(held), w = worst and int(worst), o = cap, a = ask.app, m = c.m,
          c = counters, d = today, t = now, n = c.t and int(c.t)}
end

-- The short way, which most requests take: nothing is overdue, nobody knows the id, and the first candidate is admitted by
-- the team's own counters. It writes what the long way would; where that has to decide, nothing.
local c = ask.c[1]
if c and not (c.h or ask.again or ask.ro or ask.r or KEYS[2]) then
  local places, counters, told = {}, {}, int(now)
  for j, bound in ipairs(c.l) do
    local more, counter, window = bound[5], place_of(bound)
    local unit = unit_of(counter)
    local v, need = redis.call('HMGET', prefix .. counter, 's', 'r'), need_of(c, unit)
    local settled, reserved = tonumber(v[1] or '0'), tonumber(v[2] or '0')
    if j == 1 and (bound[1] ~= 'month' or not is_open(c, {settled, reserved})) then break end
    if bound[3] >= 0 and is_full(settled + reserved, need, bound) then break end
    if more and (more.g or not (v[1] or v[2])) then break end
    local p = {counter, window, v, need, unit}
    local settles, holds = taken_in(p, c.e)
    places[j], counters[j] = p, {counter, window}
    told = told .. ' ' .. int(settled + settles) .. ' ' .. int(reserved + holds)
  end
  if places[1] and #places == #c.l and not is_known(ask.id, now)
    and not redis.call('ZRANGEBYSCORE', due_key, '-inf', int(now), 'LIMIT', '0', '1')[1] then
    local record = cjson.encode(record_of(c, 1, c.e, nil, -1, counters))
    if redis.call('HSETNX', holds_key, ask.id, record) == 1 then
      redis.call('ZADD', due_key, int(now + ask.ttl), ask.id)
      for _, p in ipairs(places) do move(p[1], p[2], taken_in(p, c.e)) end
      return told
    end
  end
end

-- The long way.
local REPEATS_MAX = 10000                          -- requests that are told apart a team
local SHOWN = 64                                   -- so many holds are looked at to say how long they may take
local VALUES_MAX = 10000                           -- values that a limit keeps apart in a window; more share one
local OTHER = '(other)'

local expired = sweep(now, 8)

-- The groups' accounts. What expires there, its team tells.
local prefixes = {prefix}
for k = 2, #KEYS do
  enter(KEYS[k])
  prefixes[k] = prefix
  sweep(now, 8)
end
if #KEYS > 1 then enter(KEYS[1]) end

if ask.again then                                  -- another candidate is tried, in a cluster: see two_phase.py
  local raw = redis.call('HGET', holds_key, ask.id)
  if raw then
    local hold = cjson.decode(raw)
    for _, c in ipairs(hold.c) do
      move(c[1], c[2], unit_of(c[1]) == 'r' and -1 or 0, -held_in(hold, c[1]))
    end
    redis.call('HDEL', holds_key, ask.id)
    redis.call('ZREM', due_key, ask.id)
  end
end

local seen = {}
local function counted(counter, where)
  local key = where and where .. counter or counter
  if not seen[key] then seen[key] = balance(counter, where) end
  return seen[key]
end
local month = counted(counter_of('month', 'month', now, today))

-- What last month left raises bounds, and the windows of candidates.
local carried = {}
if ask.ro then
  local function part(amount, parts)
    return math.floor(amount / 10000) * parts + math.floor(amount % 10000 * parts / 10000)
  end
  local year, number = tonumber(string.sub(today, 1, 4)), tonumber(string.sub(today, 5, 6)) - 1
  if number == 0 then year, number = year - 1, 12 end
  local last = string.format('b:month:%04d%02d', year, number)
  for account = 1, #KEYS do carried[account] = 0 end
  for _, c in ipairs(ask.c) do
    for _, bound in ipairs(c.l) do
      local p = bound[5] and bound[5].p
      if p then
        local account = bound[5].g or 1
        local v = counted(last, prefixes[account])
        carried[account] = v[3] and 0 or math.min(math.max(p[1] - v[1], 0), p[2])
        bound[3] = bound[3] + part(carried[account], p[3])
        bound[4] = bound[4] + part(carried[account], p[4])
      end
    end
    if c.o then
      local more = part(carried[1], c.cp) - c.o
      if c.f > 0 then c.f = math.max(c.f + more, 0) end
      if c.b >= 0 then c.b = math.max(c.b + more, 0) end
    end
  end
  for account = 1, #KEYS do carried[account] = int(carried[account]) end
end

-- What is held for a candidate: its worst case, or what its app's samples say of this model. Both sides are learned
-- apart, so that short answers say nothing of a long input.
local function fit(c)
  local h = c.h
  local sketch_of, quantile = sketches()
  local sketch = sketch_of(ask.app, c.m, now)
  if not sketch or sketch.n < h[6] then return c.e end
  local input = math.ceil(h[3] * quantile(sketch.i, h[5]) / 1024)
  local output = math.ceil(h[4] * quantile(sketch.o, h[5]) / 1024)
  return math.min(c.e, h[1] + math.max(h[2], input) + output)
end

-- Where a candidate's bounds are counted: {counter, window, its balance, what is needed of it, its unit, its account}.
local function places_of(c)
  local places = {}
  for j, bound in ipairs(c.l) do
    local more, where, counter, window = bound[5], nil, place_of(bound)
    if more and more.g then where = prefixes[more.g] end
    local v = counted(counter, where)
    if v[3] and more and more.x then
      local index = (where or prefix) .. 'v:' .. string.sub(counter_of(more.x, window, now, today), 3)
      if redis.call('SCARD', index) >= VALUES_MAX then
        counter = counter_of(more.x .. OTHER, window, now, today)
        v = counted(counter, where)
      end
    end
    local unit = unit_of(counter)
    places[j] = {counter, window, v, need_of(c, unit), unit, where}
  end
  return places
end

local looping = nil

local function answer(candidate, held, cap, replayed, refusals, standing, waited, worst)
  local more = replayed == 1 and 0 or held
  return {candidate, int(held), int(cap), month[1], month[2] + more, int(now), replayed, refusals, expired,
          standing, waited or '', worst and int(worst) or 0, looping or {}, carried}
end

if #ask.c == 0 then return answer(-1, 0, -1, 0, {}, {}) end
local first = redis.call('HGET', holds_key, ask.id)
if not first then                                  -- with what `ended` will look for, in one go
  local day = math.floor(now / DAY_MS)
  local known = redis.call('MGET', expired_key(ask.id), prefix .. 'm:' .. int(day + 1), prefix .. 'm:' .. int(day))
  first, parts_known[day + 1], parts_known[day] = known[1], tonumber(known[2] or '0'), tonumber(known[3] or '0')
end
if first then
  local hold = cjson.decode(first)
  local standing = {}
  for i, c in ipairs(hold.c) do                    -- numbers of a reply are exact up to 2^53
    local v = counted(c[1])
    standing[2 * i - 1], standing[2 * i] = v[1], v[2]
  end
  return answer(hold.i, hold.e, hold.o, 1, {}, standing, nil, hold.w)
end
if ended(ask.id, now, now - 600000) then return answer(0, 0, -1, 1, {}, {}) end

-- The same request again and again: its passes are counted in a window that begins with the first.
local count_pass = nil
if ask.r then
  local repeats_key, repeats_ends = prefix .. 'repeats', prefix .. 'repeats:t'
  local passed, window_ends = 0, nil
  local known = redis.call('HGET', repeats_key, ask.r[1])
  if known then
    local n, ends = string.match(known, '^(%d+) (%d+)$')
    if tonumber(ends) > now then passed, window_ends = tonumber(n), tonumber(ends) end
  end
  if passed >= ask.r[2] then
    looping = {int(passed), int(window_ends - now)}
    if ask.r[4] == 1 then return answer(-1, 0, -1, 0, {}, {}) end
  end

  -- It passes once more. What is over is forgotten, and where there are too many, what will be over first.
  count_pass = function()
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
end

-- The output tokens that fit below every floor, and the money; holds = 0: as if nothing were held.
local function part_of(c, places, holds)
  local room = c.w or c.e
  for j, bound in ipairs(c.l) do
    if bound[3] >= 0 then
      local p = places[j]
      local left = bound[3] - p[3][1] - p[3][2] * holds
      if not p[5] then
        room = math.min(room, left)
      elseif left < p[4] then
        return nil                                 -- less output does not help against a limit of tokens or requests
      end
    end
  end
  local tokens = math.floor((room - c.k[1]) * 1000 / math.max(c.k[2], 1))
  if tokens >= c.k[3] and tokens > 0 then
    return tokens, math.min(room, c.k[1] + math.ceil(tokens * c.k[2] / 1000))
  end
end

-- The bound that refuses a candidate (nil: none does), and whether only holds do.
local function refusal_of(c, places)
  local refuses, final
  for j, bound in ipairs(c.l) do
    if bound[3] >= 0 then
      local v, need = places[j][3], places[j][4]
      if is_full(v[1] + v[2], need, bound) then
        refuses = refuses or j
        if not final and (v[1] >= bound[3] or v[1] + need > bound[4]) then final = j end
      end
    end
  end
  if final and not (c.k and part_of(c, places, 0)) then return final, 0 end
  return refuses, 1
end

-- The holds that stand in a counter, the nearest deadline first.
local function in_flight(p)
  local where = p[6] or prefix
  local ids = redis.call('ZRANGE', where .. 'due', 0, SHOWN - 1)
  local out = {}
  if #ids == 0 then return '' end
  for _, raw in ipairs(redis.call('HMGET', where .. 'holds', unpack(ids))) do
    if raw then
      local hold = cjson.decode(raw)
      for _, c in ipairs(hold.c) do
        if c[1] == p[1] then out[#out + 1] = int(math.max(0, now - hold.t)) .. ' ' .. int(held_in(hold, c[1])) end
      end
    end
  end
  return table.concat(out, ' ')
end

local refusals = {}
local eligible = {}
local places = {}
local chosen, held, cap, worst = nil, 0, -1, nil
local waits_at = nil
for i, c in ipairs(ask.c) do
  if is_open(c, month) then
    eligible[#eligible + 1] = i
    if c.h then c.w, c.e = c.e, fit(c) end
    places[i] = places_of(c)
    local j, only_held = refusal_of(c, places[i])
    if not j then
      chosen, held = i, c.e
      if c.w and c.w > c.e then worst = c.w end
      break
    end
    local p = places[i][j]
    refusals[#refusals + 1] = {i - 1, j - 1, int(p[3][1]), int(p[3][2]), only_held, int(p[4])}
    if only_held == 1 then waits_at = p end
  end
end

if not chosen then                                 -- nothing fits whole: does a useful part?
  for _, i in ipairs(eligible) do
    if ask.c[i].k then
      local tokens, money = part_of(ask.c[i], places[i], 1)
      if tokens then
        chosen, cap, held = i, tokens, money
        break
      end
    end
  end
end

if not chosen then
  return answer(-1, 0, -1, 0, refusals, {}, waits_at and in_flight(waits_at))
end

local c = ask.c[chosen]
local standing, counters, others = {}, {}, nil
for j, bound in ipairs(c.l) do
  local p = places[chosen][j]
  local v, more = p[3], bound[5]
  local settles, holds = taken_in(p, held)
  if more and (more.g or more.x) then
    if more.g then enter(KEYS[more.g]) end
    move(p[1], p[2], settles, holds)
    if v[3] and more.x then
      local index = prefix .. 'v:' .. string.sub(counter_of(more.x, p[2], now, today), 3)
      redis.call('SADD', index, string.sub(p[1], 3, -1 - #string.match(p[1], ':[^:]*$')))
      redis.call('EXPIRE', index, ttl_of(p[2]))
    end
    if more.g then enter(KEYS[1]) end
  else
    move(p[1], p[2], settles, holds)
  end
  if more and more.g then
    others = others or {}
    others[more.g] = others[more.g] or {}
    table.insert(others[more.g], {p[1], p[2]})
  else
    counters[#counters + 1] = {p[1], p[2]}
  end
  standing[2 * j - 1], standing[2 * j] = v[1] + settles, v[2] + holds
end

local record = record_of(c, chosen, held, worst, cap, counters)
local deadline = int(now + ask.ttl)
redis.call('HSET', holds_key, ask.id, cjson.encode(record))
redis.call('ZADD', due_key, deadline, ask.id)
if count_pass then count_pass() end
if others then
  record.a = ask.team
  for account, stands in pairs(others) do
    enter(KEYS[account])
    record.c = stands
    redis.call('HSET', holds_key, ask.id, cjson.encode(record))
    redis.call('ZADD', due_key, deadline, ask.id)
  end
end
return answer(record.i, held, cap, 0, refusals, standing, nil, worst)
