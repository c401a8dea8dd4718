-- Settle or release a batch of one team's exchanges.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)
-- ARGV[2…] JSON each: {id, app, m: model, e: cost (nano-USD), u: {kind: n}, t: reserved at (ms),
--           x: release?, q: exchanges (1 where left out; 0 counts refusals, which held nothing),
--           s: [[scope, window] ...], n: [scope ...] (held, but for another model than the one that answered:
--           nothing was spent there), k: [acknowledged, counted] (us, 0: never) of one that is told again,
--           l: [input, output] (1024ths of its worst case, 1 to 1024), a sample for later holds,
--           g: its tokens (left out: those that were held)}
-- Reply    one word each: `settled`, `released`, `corrected` (its hold had expired), `replayed`; and last the
--          time (us), by which `remember` says whether it was in what it read
-- Replay   the marker of an ended exchange (seven days) makes a second settle or release change nothing.
--          A hold that Redis lost is charged all the same, in the windows of its reservation.
-- Batch    everything is decoded before anything is written. As far as a batch has exchanges that are held, what they move
--          is added up: each counter, each cell and each set of marks is written once. From the first on of which
--          something else is to be told (see `is_plain`), one is settled after the other.
-- Closed   what comes for a closed month falls into the open one: a late settlement as if it were of now; the
--          difference of a corrected one as adjusted money, and no more is taken back than the open month has.

local now = clock(ARGV[1])

-- What an exchange spent in a counter: all of `amount`, or nothing where it was held for another model.
local function spent_in(s, counter, amount)
  if not s.n then return amount end
  local scope = string.match(counter, '^b:(.*):[^:]*$')
  for _, other in ipairs(s.n) do
    if other == scope then return 0 end
  end
  return amount
end

-- What an exchange adds to a counter, in the counter's unit. A request was counted when it was admitted (`hold`); one
-- that nobody admitted here counts now.
local function added_to(s, counter, cost, hold)
  local unit = unit_of(counter)
  if not unit then return spent_in(s, counter, cost) end
  if unit == 't' then
    return spent_in(s, counter, s.x and 0 or s.g or (hold and held_in(hold, counter)) or 0)
  end
  if hold then return spent_in(s, counter, 0) - (spent_in(s, counter, 1) == 0 and 1 or 0) end
  return spent_in(s, counter, s.q or exchanges_of(s.id))
end

-- By how much settled and reserved of one of its counters change.
local function moved_in(s, c, cost, hold)
  return added_to(s, c[1], cost, hold), (hold and -held_in(hold, c[1]) or 0)
end

local function time_us()
  local t = redis.call('TIME')
  return int(tonumber(t[1]) * 1000000 + tonumber(t[2]))
end

local batch, ids = {}, {}
for i = 2, #ARGV do
  local s = cjson.decode(ARGV[i])
  batch[i - 1], ids[i - 1] = s, s.id
end
local PLAIN_MAX = math.min(#batch, 1000)           -- so many are added up,
local LARGE = 2 ^ 53 / 1000                        -- and none above this: sums are exact up to 2^53

-- Can it be added up with others? Not where its hold was lost, is of another model in part, or teaches later ones; nor
-- the second of an id.
local function is_plain(s, hold, seen)
  if not hold or seen or s.k or s.n or s.l then return false end
  if s.e > LARGE or tonumber(hold.e) > LARGE or tonumber(hold.n or '0') > LARGE or s.g and s.g > LARGE then return false end
  for _, n in pairs(s.u) do
    if n > LARGE or n < -LARGE then return false end
  end
  return true
end

-- The short way. No key `~` exists: see the guard in common.lua.
redis.call('EXISTS', holds_key, prefix .. '~')
local out, seen, moves, cells = {}, {}, {}, {}
local records = PLAIN_MAX > 0 and redis.call('HMGET', holds_key, unpack(ids, 1, PLAIN_MAX))
for i = 1, PLAIN_MAX do
  local s, hold = batch[i], records[i] and cjson.decode(records[i])
  if not is_plain(s, hold, seen[s.id]) then break end
  local release = s.x == true
  if not release then
    local key, cell = cell_of(hold.d, hold.a, s.m)
    local c = cells[key .. cell]
    if not c then                                  -- one that is new to its day may find it full
      if redis.call('HEXISTS', key, cell .. '#') == 0 then break end
      c = {key, cell, 0, 0, {}}
      cells[key .. cell] = c
    end
    c[3], c[4] = c[3] + s.e, c[4] + exchanges_of(s.id)
    local usage = c[5]
    for kind, n in pairs(s.u) do usage[kind] = (usage[kind] or 0) + n end
  end
  for _, c in ipairs(hold.c) do
    local m = moves[c[1]]
    if not m then
      m = {c[2], 0, 0}
      moves[c[1]] = m
    end
    local settled, reserved = moved_in(s, c, release and 0 or s.e, hold)
    m[2], m[3] = m[2] + settled, m[3] + reserved
  end
  out[i], seen[s.id] = release and 'released' or 'settled', true
end
if out[1] then
  local done = {unpack(ids, 1, #out)}
  for counter, m in pairs(moves) do move(counter, m[1], m[2], m[3]) end
  redis.call('HDEL', holds_key, unpack(done))
  redis.call('ZREM', due_key, unpack(done))
  for _, c in pairs(cells) do count_in(c[1], c[2], c[3], c[4], c[5]) end
  mark_all(done, now)
end
if #out == #batch then
  out[#out + 1] = time_us()
  return out
end

-- The long way.

-- An exchange that is told again after a loss (k). Where restored money stands in its place, it takes that place
-- and counters rise by the rest only. Acknowledged before the memory was read, it is part of the memory; counted
-- before the totals were, of the totals. One that is in neither is noted, in case that a younger memory comes in
-- which it is. Gives by how much each counter still has to rise.
local function late(s, counters, day, cost, hold)
  local month = string.sub(day, 1, 6)
  local x_key = prefix .. 'x:' .. month
  local reach = redis.call('HMGET', x_key, '@', '@p')
  local acknowledged, counted = s.k[1], s.k[2]
  local in_memory = acknowledged > 0 and acknowledged <= tonumber(reach[1] or '0')
  local rest = cost
  if in_memory or (counted > 0 and counted <= tonumber(reach[2] or '0')) then
    for n = 0, 31 do
      local d = n == 0 and day or month .. string.format('%02d', n)
      local cell = d .. SEP .. s.app .. SEP .. s.m
      local part = math.min(rest, tonumber(redis.call('HGET', x_key, cell) or '0'))
      if part > 0 then
        redis.call('HINCRBY', x_key, cell, int(-part))
        count_daily(d, s.app, s.m, -part, 0, {})
        rest = rest - part
      end
      if rest == 0 then break end
    end
  end
  local more, noted = {}, {}
  for i, c in ipairs(counters) do
    more[i] = added_to(s, c[1], c[2] == 'month' and rest or cost, hold)
    local pool = in_memory and tonumber(redis.call('HGET', x_key, '*' .. c[1]) or '0') or 0
    local part = math.min(more[i], pool)
    if part > 0 then
      redis.call('HINCRBY', x_key, '*' .. c[1], int(-part))
      if c[1] == 'b:month:' .. month then count_daily(month .. '01', REBUILT, REBUILT, -part, 0, {}) end
      more[i] = more[i] - part
    end
    noted[i] = {c[1], int(more[i])}
  end
  if acknowledged > 0 and not in_memory then
    local y_key = prefix .. 'y:' .. month
    redis.call('ZADD', y_key, int(acknowledged), cjson.encode({id = s.id, c = noted}))
    redis.call('EXPIRE', y_key, DAY_S)
  end
  return more
end

-- Move the counters ({counter, window} each): `cost` is settled, what `hold` held no longer reserved.
local function charge(s, counters, day, cost, hold)
  local more = s.k and late(s, counters, day, cost, hold) or {}
  for i, c in ipairs(counters) do
    local settled, reserved = moved_in(s, c, cost, hold)
    move(c[1], c[2], more[i] or settled, reserved)
  end
end

-- The counters of the month of now that a hold of a closed month stood in.
local function correct_later(s, hold, delta, usage)
  local today = day_id(now)
  local counters = {}
  for _, c in ipairs(hold.c) do
    if unit_of(c[1]) then
      -- tokens and requests of a window that may still be open
      if c[2] ~= 'month' then move(c[1], c[2], added_to(s, c[1], 0, hold) - held_in(hold, c[1]), 0) end
    elseif c[2] == 'month' then
      local counter = counter_of(string.match(c[1], '^b:(.*):%d+$'), 'month', now, today)
      counters[#counters + 1] = {counter, 'month'}
      delta = math.max(delta, -tonumber(redis.call('HGET', prefix .. counter, 's') or '0'))
    elseif c[2] ~= 'day' and c[2] ~= 'hour' then
      counters[#counters + 1] = c
    end
  end
  for _, c in ipairs(counters) do move(c[1], c[2], delta, 0) end
  count_daily(today, hold.a, s.m, delta, 0, usage, '~')
end

-- How samples are kept. (Made where one comes.)
local function learning()
  local ratios_key = prefix .. 'ratios'
  local sketch_of, _, bucket_of = sketches()

  -- Room for one more app and model: once a day, what has had no sample for long is dropped.
  local function make_room(today)
    if redis.call('HGET', ratios_key, '@') == int(today) then return false end
    redis.call('HSET', ratios_key, '@', int(today))
    local fields = redis.call('HGETALL', ratios_key)
    local left = 0
    for i = 1, #fields, 2 do
      if fields[i] ~= '@' then
        if cjson.decode(fields[i + 1]).d + IDLE_DAYS < today then
          redis.call('HDEL', ratios_key, fields[i])
        else
          left = left + 1
        end
      end
    end
    return left < RATIOS_MAX
  end

  -- Count a ratio: its bucket stands in order.
  local function count_in(counts, ratio)
    local bucket, i = bucket_of(ratio), 1
    while counts[i] and counts[i] < bucket do i = i + 2 end
    if counts[i] == bucket then
      counts[i + 1] = counts[i + 1] + 1
    else
      table.insert(counts, i, 1)
      table.insert(counts, i, bucket)
    end
  end

  local function halved(counts)
    local out = {}
    for i = 1, #counts, 2 do
      local n = math.floor(counts[i + 1] / 2)
      if n > 0 then
        out[#out + 1] = counts[i]
        out[#out + 1] = n
      end
    end
    return out
  end

  -- Keep a sample of how a true cost compares with its worst case.
  local function learn(app, model, sample)
    local today = math.floor(now / DAY_MS)
    local field = app .. SEP .. model
    local sketch = sketch_of(app, model, now)
    if not sketch then
      local is_new = redis.call('HEXISTS', ratios_key, field) == 0
      if is_new and redis.call('HLEN', ratios_key) > RATIOS_MAX and not make_room(today) then return end
      sketch = {n = 0, i = {}, o = {}}
    end
    if sketch.n >= SAMPLES_MAX then
      sketch = {n = math.floor(sketch.n / 2), i = halved(sketch.i), o = halved(sketch.o), d = sketch.d}
    end
    count_in(sketch.i, sample[1])
    count_in(sketch.o, sample[2])
    local is_new_day = sketch.d ~= today
    sketch.n, sketch.d = sketch.n + 1, today
    redis.call('HSET', ratios_key, field, cjson.encode(sketch))
    if is_new_day then redis.call('EXPIRE', ratios_key, 2 * IDLE_DAYS * DAY_S) end
  end
  return learn
end
local learn = nil

local function settle(s)
  local release = s.x == true
  local cost = release and 0 or s.e
  local word = release and 'released' or 'settled'
  local one = exchanges_of(s.id)
  local raw = redis.call('HGET', holds_key, s.id)
  if raw then
    local hold = cjson.decode(raw)
    charge(s, hold.c, hold.d, cost, hold)
    redis.call('HDEL', holds_key, s.id)
    redis.call('ZREM', due_key, s.id)
    if not release then count_daily(hold.d, hold.a, s.m, cost, one, s.u) end
    mark(s.id, now)
    if s.l then
      learn = learn or learning()
      learn(hold.a, hold.m, s.l)
    end
    return word
  end
  raw = redis.call('GET', expired_key(s.id))
  if raw then
    local hold = cjson.decode(raw)
    local held = charged_for(hold)
    if is_closed(hold.d) then
      correct_later(s, hold, cost - held, release and {} or s.u)
    else
      local month = 'b:month:' .. string.sub(hold.d, 1, 6)
      for _, c in ipairs(hold.c) do
        if c[1] == month then
          -- an adjustment took back from what the estimate had charged: the month ends at zero, not below
          local below = tonumber(redis.call('HGET', prefix .. month, 's') or '0') + cost - held
          if below < 0 then count_daily(hold.d, hold.a, hold.m, -below, 0, {}, '~') end
        end
        move(c[1], c[2], added_to(s, c[1], cost, hold) - charged_in(hold, c[1]), 0)
      end
      count_daily(hold.d, hold.a, hold.m, -held, 0 - one, {})
      if not release then count_daily(hold.d, hold.a, s.m, cost, one, s.u) end
    end
    redis.call('DEL', expired_key(s.id))
    mark(s.id, now)
    return 'corrected'
  end
  if ended(s.id, now, now - MARKER_DAYS * DAY_MS) then return 'replayed' end
  if not release then
    local at = s.t > 0 and s.t or now
    local day = day_id(at)
    if is_closed(day) then at, day = now, day_id(now) end
    local counters = {}
    for i, b in ipairs(s.s) do counters[i] = {counter_of(b[1], b[2], at, day), b[2]} end
    charge(s, counters, day, cost, nil)
    count_daily(day, s.app, s.m, cost, s.q or one, s.u)
  end
  mark(s.id, now)
  return word
end

for i = #out + 1, #batch do out[i] = settle(batch[i]) end
out[#out + 1] = time_us()
return out
