-- Common part of every script of the ledger; the loader puts it before each. What a script has of a short way is put where
-- its long one begins here: a call makes each function anew, and what it does not need by then costs it nothing.
--
-- All keys of a team stand in one slot: KEYS[1] is `sg1:{team}:holds` and routes the call, the others are
-- derived from its prefix here, because the windows (month, day, hour) follow Redis' own clock, which the
-- caller does not know. Amounts are nano-USD, times milliseconds since the epoch.
--
-- A group of teams has an account like a team's, with teams for apps. Where a script is given keys of several
-- accounts (all on one server), `enter` turns to one of them.
--
--   holds            hash    exchange id -> record of the hold (JSON)
--   due              zset    exchange id by deadline
--   b:<scope>:<id>   hash    s settled, r reserved, of one bound in one window: nano-USD, but of the scopes
--                            `limit:tokens:…` and `limit:requests:…` what they say (requests are never reserved)
--   v:<scope>:<id>   set     scopes of the values that a limit has counted in one window
--   d:<day>          hash    app SEP model SEP kind -> count; `$` nano-USD, `#` exchanges, `+` nano-USD that
--                            another model than asked for saved (negative: it was dearer), `!` refused requests,
--                            `~` nano-USD adjusted, `=` nano-USD below list prices, `^` nano-USD of markup
--   adj              hash    adjustment id -> its record (JSON); adj:t, zset of the ids by time
--   closed           hash    month -> its closing (JSON: t when, by whom, s settled, x digest of the cells,
--                            b the budget that it is judged by)
--   m:<day no.>      string  in how many sets that day's marks are kept
--   m:<day no.>:<n>  set     what ended that day: 48 bits of each exchange id's SHA-1
--   e:<exchange id>  string  record of a hold that expired, until its true cost comes
--   ratios           hash    app SEP model -> how true costs compare with worst cases (see the sketch below); `@` the
--                            day number on which what nobody uses was looked for last
--   x:<month>        hash    what was restored after a loss without its exchanges: see restore.lua
--   y:<month>        zset    what came home late after a loss: see restore.lua
--   repeats          hash    digest of a request -> how often it passed SPACE when its window ends (ms);
--                            repeats:t, zset of the digests by that end

local prefix, holds_key = string.sub(KEYS[1], 1, -6), KEYS[1]    -- "sg1:{team}:"
local due_key = prefix .. 'due'

local DAY_MS = 86400000
local DAY_S = 86400
local TTL_S = {month = 400 * DAY_S, day = 40 * DAY_S, hour = 3 * DAY_S, run = 7 * DAY_S, total = 400 * DAY_S}
local PERIOD_TTL_S = 8 * DAY_S                     -- of a period `START-END` (s), after its end
local DAILY_TTL_S = 400 * DAY_S
local MARKER_DAYS = 7                              -- a settlement may come again for so long
local PARTS_MIN, PARTS_MAX = 4, 4096
local CELLS_MAX = 4000                             -- fields a day and team keeps apart; more become `other`
local SEP = '\31'
local REBUILT = '(rebuilt)'                        -- app and model of what is known only in total

-- A whole number as text. (`%d` takes a third of the time of `%.0f`, but is 32 bits wide where Redis is.)
local WHOLE = string.format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
local function int(n) return string.format(WHOLE, n) end

local clock_ms = 0
local function clock(given)
  clock_ms = tonumber(given)
  if clock_ms <= 0 then
    local t = redis.call('TIME')
    clock_ms = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
  end
  return clock_ms
end

local floor = math.floor

-- Civil date of days since 1970-01-01 (proleptic Gregorian, era arithmetic of 400 years).
local function day_id(ms)
  local z = floor(ms / DAY_MS) + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  local month = mp + 3
  if month > 12 then month = month - 12 end
  local year = yoe + era * 400
  if month <= 2 then year = year + 1 end
  return string.format('%04d%02d%02d', year, month, day)
end

-- The counter of a bound at a time, without the team's prefix: `b:month:202611`, `b:run:<run>:-`. A window that is
-- none of the ledger's own is a period, `START-END`, and named by its start.
local function counter_of(scope, window, ms, day)
  local id = '-'
  if not TTL_S[window] then
    id = string.match(window, '^%d+')
  elseif window ~= 'run' and window ~= 'total' then
    id = day or day_id(ms)
    if window == 'month' then id = string.sub(id, 1, 6) end
    if window == 'hour' then id = id .. string.format('%02d', math.floor(ms / 3600000) % 24) end
  end
  return 'b:' .. scope .. ':' .. id
end

-- How long a counter lives from now.
local function ttl_of(window)
  if TTL_S[window] then return TTL_S[window] end
  local left = math.floor(tonumber(string.match(window, '%d+$')) - clock_ms / 1000)
  return math.max(0, left) + PERIOD_TTL_S
end

-- Add to one field of a counter, which does not fall below zero, also when its key was lost. A sum that equals what was
-- added may be a new key, which then gets its end of life.
local function add(key, field, n, window)
  local sum = redis.call('HINCRBY', key, field, int(n))
  if sum == n then redis.call('EXPIRE', key, ttl_of(window)) end
  if sum < 0 then redis.call('HSET', key, field, '0') end
end

-- Move settled and reserved of a counter.
local function move(counter, window, settled, reserved)
  local key = prefix .. counter
  if settled ~= 0 then add(key, 's', settled, window) end
  if reserved ~= 0 then add(key, 'r', reserved, window) end
  if window == 'run' or window == 'total' then redis.call('EXPIRE', key, TTL_S[window]) end
end

-- What a counter counts: `t` tokens, `r` requests, nil: money.
local function unit_of(counter)
  if string.sub(counter, 1, 8) ~= 'b:limit:' then return nil end
  local unit = string.sub(counter, 9, 9)
  return unit ~= 'u' and unit or nil
end

-- As how many exchanges an id counts: none for what is charged beside one (port.BESIDE).
local function exchanges_of(id)
  return string.sub(id, -9) == ':attempts' and 0 or 1
end

-- Which exchanges ended: integers in sets that Redis keeps as sorted arrays of 8 bytes a member while they
-- have at most 512. A day's marks are spread over `parts` sets.
local function marker_of(id, day, parts)
  local hex = redis.sha1hex(id)
  local part = tonumber(string.sub(hex, 1, 3), 16) % parts
  return prefix .. 'm:' .. int(day) .. ':' .. int(part), int(tonumber(string.sub(hex, 4, 15), 16))
end

-- Has a hold of this id expired, or did it end of late? (At worst a yes: around midnight, and where the clock was set
-- back, `ended` looks more closely. No key `~` exists: see the guard below.)
local function is_known(id, now)
  local day = floor(now / DAY_MS)
  local days = prefix .. 'm:' .. int(day)
  local known = redis.call('MGET', prefix .. 'e:' .. id, prefix .. 'm:' .. int(day + 1), days, prefix .. '~')
  if known[1] or known[2] or now % DAY_MS < 600000 then return true end
  if not known[3] then return false end
  local key, member = marker_of(id, day, tonumber(known[3]))
  return redis.call('SISMEMBER', key, member) == 1
end

-- The long way of reserve.

-- What a hold holds in one of its counters.
local function held_in(hold, counter)
  local unit = unit_of(counter)
  if not unit then return tonumber(hold.e) end
  return unit == 't' and tonumber(hold.n or '0') or 0
end

-- Where a day counts app and model: its key, and what the fields of their cell begin with.
local function cell_of(day, app, model) return prefix .. 'd:' .. day, app .. SEP .. model .. SEP end

-- Count into a cell. The first `#` of a day makes the key, so it carries the TTL. `sign` is `$`, or `~` for money that was
-- adjusted.
local function count_in(key, cell, cost, exchanges, usage, sign)
  if redis.call('HINCRBY', key, cell .. '#', int(exchanges)) == exchanges then
    redis.call('EXPIRE', key, DAILY_TTL_S)
  end
  if cost ~= 0 then redis.call('HINCRBY', key, cell .. (sign or '$'), int(cost)) end
  for kind, n in pairs(usage) do
    if n ~= 0 then redis.call('HINCRBY', key, cell .. kind, int(n)) end
  end
end

-- In how many sets the marks of a day are kept: about twice what the day before needed.
local parts_known = {}
local function parts_of(day, make)
  if parts_known[day] then return parts_known[day] end
  local key = prefix .. 'm:' .. int(day)
  local parts = tonumber(redis.call('GET', key) or '0')
  if parts == 0 then
    if not make then return 0 end
    local before = prefix .. 'm:' .. int(day - 1)
    local marked = tonumber(redis.call('GET', before) or '0') * redis.call('SCARD', before .. ':0')
    parts = PARTS_MIN
    while parts < PARTS_MAX and parts * 256 < marked do parts = parts * 2 end
    redis.call('SET', key, int(parts), 'EX', (MARKER_DAYS + 1) * DAY_S)
  end
  parts_known[day] = parts
  return parts
end

-- Note which exchanges ended.
local function mark_all(ids, now)
  local day, sets = floor(now / DAY_MS), {}
  local parts = parts_of(day, true)
  for _, id in ipairs(ids) do
    local key, member = marker_of(id, day, parts)
    local set = sets[key]
    if set then set[#set + 1] = member else sets[key] = {key, member} end
  end
  for key, set in pairs(sets) do
    local added = redis.call('SADD', unpack(set))
    if added > 0 and redis.call('SCARD', key) == added then
      redis.call('EXPIRE', key, (MARKER_DAYS + 1) * DAY_S)
    end
  end
end

-- The long way of settle.

-- On Redis Cluster a slot on its way to another node has some keys here and some there. No key `~` exists, so
-- this fails on both sides then, before anything is written: no counter is ever split (and costs a look-up else).
redis.call('EXISTS', holds_key, prefix .. '~')

-- Turn to the account of a key.
local function enter(key)
  prefix, holds_key = string.sub(key, 1, -6), key
  due_key = prefix .. 'due'
end

local function expired_key(id) return prefix .. 'e:' .. id end

-- What a counter has settled, what is reserved in it, and whether it is new; `where`: the prefix of its account.
local function balance(counter, where)
  local v = redis.call('HMGET', (where or prefix) .. counter, 's', 'r')
  return {tonumber(v[1] or '0'), tonumber(v[2] or '0'), not (v[1] or v[2])}
end

-- Did the exchange end since `since` (ms)? Whole days are looked at, tomorrow's too: the clock may have been set back.
local function ended(id, now, since)
  for day = math.floor(now / DAY_MS) + 1, math.floor(since / DAY_MS), -1 do
    local parts = parts_of(day, false)
    if parts > 0 then
      local key, member = marker_of(id, day, parts)
      if redis.call('SISMEMBER', key, member) == 1 then return true end
    end
  end
  return false
end

-- Was the month of a day closed? Then nothing may change it any more.
local function is_closed(day) return redis.call('HEXISTS', prefix .. 'closed', string.sub(day, 1, 6)) == 1 end

-- Count into the day's cell of app and model, `other` where the day has too many.
local function count_daily(day, app, model, cost, exchanges, usage, sign)
  local key, cell = cell_of(day, app, model)
  if redis.call('HEXISTS', key, cell .. '#') == 0 and redis.call('HLEN', key) >= CELLS_MAX then
    cell = 'other' .. SEP .. 'other' .. SEP
  end
  count_in(key, cell, cost, exchanges, usage, sign)
end

local function mark(id, now) mark_all({id}, now) end

-- The sketch of an app and model: {d: day no. of its last sample, n: samples, i: [bucket, count, ...], o: the same}.
-- A ratio is in 1024ths of the worst case, rounded up: of the input (i) and of the output (o) each for itself. Buckets
-- 1 to 16 hold one value each, every eight more span twice as much as the eight before; 64 ends at the whole.
-- Its functions are made where they are asked for: most calls of a script learn nothing.
local RATIOS_MAX = 256                             -- apps and models kept apart a team
local SAMPLES_MAX = 1000                           -- at so many samples all counts are halved: what is old fades
local IDLE_DAYS = 30                               -- a sketch without a sample for so long begins anew

local function sketches()
  local function bucket_of(ratio)
    local octaves = 0
    while ratio > 16 do
      ratio = math.ceil(ratio / 2)
      octaves = octaves + 1
    end
    return ratio + 8 * octaves
  end

  local function top_of(bucket)
    local octaves = bucket > 16 and math.ceil((bucket - 16) / 8) or 0
    return (bucket - 8 * octaves) * 2 ^ octaves
  end

  -- The ratio that so many percent of the samples do not pass.
  local function quantile(counts, percent)
    local total, seen = 0, 0
    for i = 2, #counts, 2 do total = total + counts[i] end
    for i = 1, #counts, 2 do
      seen = seen + counts[i + 1]
      if seen * 100 >= total * percent then return top_of(counts[i]) end
    end
  end

  -- An app's sketch of a model, nil where there is none that counts.
  local function sketch_of(app, model, now)
    local raw = redis.call('HGET', prefix .. 'ratios', app .. SEP .. model)
    local sketch = raw and cjson.decode(raw)
    if sketch and sketch.d + IDLE_DAYS >= math.floor(now / DAY_MS) then return sketch end
  end
  return sketch_of, quantile, bucket_of
end

-- What a hold is charged that nobody settles: the worst case, also where less is held.
local function charged_for(hold) return math.max(tonumber(hold.w or '0'), tonumber(hold.e)) end

-- The same in one of its counters.
local function charged_in(hold, counter)
  return unit_of(counter) and held_in(hold, counter) or charged_for(hold)
end

-- Settle at the worst case what nobody settled in time; at most `limit`, so the work is constant.
local function sweep(now, limit)
  local gone = redis.call('ZRANGEBYSCORE', due_key, '-inf', int(now), 'LIMIT', 0, limit)
  local out = {}
  for _, id in ipairs(gone) do
    local raw = redis.call('HGET', holds_key, id)
    redis.call('ZREM', due_key, id)
    if raw then
      local hold = cjson.decode(raw)
      local charged = charged_for(hold)
      for _, c in ipairs(hold.c) do move(c[1], c[2], charged_in(hold, c[1]), -held_in(hold, c[1])) end
      count_daily(hold.d, hold.a, hold.m, charged, exchanges_of(id), {})
      redis.call('HDEL', holds_key, id)
      redis.call('SET', expired_key(id), raw, 'EX', MARKER_DAYS * DAY_S)
      out[#out + 1] = {id, hold.a, hold.m, int(charged), int(hold.t)}
    end
  end
  return out
end
