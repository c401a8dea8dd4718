-- Common part of every script of the ledger; the loader puts it before each.
--
-- All keys of a team stand in one slot: KEYS[1] is `sg1:{team}:holds` and routes the call, the others are
-- derived from its prefix here, because the windows (month, day, hour) follow Redis' own clock, which the
-- caller does not know. Amounts are nano-USD, times milliseconds since the epoch.

local prefix = string.sub(KEYS[1], 1, -6)          -- "sg1:{team}:"
local holds_key = KEYS[1]                          -- hash: exchange id -> record of the hold (JSON)
local due_key = prefix .. 'due'                    -- zset: exchange id by deadline

local DAY_S = 86400
local TTL_S = {month = 400 * DAY_S, day = 40 * DAY_S, hour = 3 * DAY_S, run = 7 * DAY_S}
local DAILY_TTL_S = 400 * DAY_S
local MARKER_TTL_S = 3600
local CELLS_MAX = 2000                             -- fields a day and team keeps apart; more become `other`
local SEP = '\31'

local function int(n) return string.format('%.0f', n) end

local function clock(given)
  local now = tonumber(given)
  if now > 0 then return now end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Civil date of days since 1970-01-01 (proleptic Gregorian, era arithmetic of 400 years).
local function civil(ms)
  local z = math.floor(ms / 86400000) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp + 3
  if month > 12 then month = month - 12 end
  local year = yoe + era * 400
  if month <= 2 then year = year + 1 end
  return year, month, day
end

local function day_id(ms)
  local y, m, d = civil(ms)
  return string.format('%04d%02d%02d', y, m, d)
end

local function window_id(window, ms)
  if window == 'run' then return '-' end
  local day = day_id(ms)
  if window == 'month' then return string.sub(day, 1, 6) end
  if window == 'day' then return day end
  return day .. string.format('%02d', math.floor(ms / 3600000) % 24)
end

local function counter_key(scope, window, ms)
  return prefix .. 'b:' .. scope .. ':' .. window_id(window, ms)
end

local function read_counter(key)
  local v = redis.call('HMGET', key, 's', 'r')
  return tonumber(v[1] or '0'), tonumber(v[2] or '0')
end

-- Add to settled and reserved; reserved never falls below zero, also when its key was lost.
local function move(key, window, settled, reserved)
  if settled ~= 0 then redis.call('HINCRBY', key, 's', int(settled)) end
  if reserved ~= 0 then
    local r = redis.call('HINCRBY', key, 'r', int(reserved))
    if r < 0 then redis.call('HSET', key, 'r', '0') end
  end
  redis.call('EXPIRE', key, TTL_S[window])
end

-- Count into the day's cell of app and model: `$` nano-USD, `#` exchanges, otherwise a usage kind.
local function count_daily(day, app, model, cost, exchanges, usage)
  local key = prefix .. 'd:' .. day
  local cell = app .. SEP .. model .. SEP
  if redis.call('HEXISTS', key, cell .. '#') == 0 and redis.call('HLEN', key) >= CELLS_MAX then
    cell = 'other' .. SEP .. 'other' .. SEP
  end
  redis.call('HINCRBY', key, cell .. '#', int(exchanges))
  redis.call('HINCRBY', key, cell .. '$', int(cost))
  for kind, n in pairs(usage) do redis.call('HINCRBY', key, cell .. kind, int(n)) end
  redis.call('EXPIRE', key, DAILY_TTL_S)
end

local function marker_key(id) return prefix .. 'x:' .. id end

-- Settle at the estimate what nobody settled in time; at most `limit`, so the work is constant.
local function sweep(now, limit)
  local gone = redis.call('ZRANGEBYSCORE', due_key, '-inf', int(now), 'LIMIT', 0, limit)
  local out = {}
  for _, id in ipairs(gone) do
    local raw = redis.call('HGET', holds_key, id)
    redis.call('ZREM', due_key, id)
    if raw then
      local hold = cjson.decode(raw)
      for _, c in ipairs(hold.c) do move(c[1], c[2], hold.e, -hold.e) end
      count_daily(hold.d, hold.a, hold.m, hold.e, 1, {})
      redis.call('HDEL', holds_key, id)
      redis.call('SET', marker_key(id), 'expired' .. raw, 'EX', MARKER_TTL_S)
      out[#out + 1] = {id, hold.a, hold.m, int(hold.e), int(hold.t)}
    end
  end
  return out
end
