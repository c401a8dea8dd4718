-- Restore: give a team back what Redis lost of a month, from totals whose exchanges are not known one by one.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  JSON {n: epoch's number, empty: nothing at all was left, month: YYYYMM, dry: change nothing,
--           t: when the memory was read (us), b: [[counter, window, settled] ...],
--           p: how far the totals reach (us), c: [[app, model, [[day, total] ...], [[counter, window] ...]] ...]}
--          Memory (b) is what counters said at t; totals (c) are a month's of each app and model, by day.
-- Reply    {settled of the month before, after, taken from memory, [[app, model, had, total, added] ...]}
-- Holds    of an older copy are dropped when its epoch is first restored; gateways hold again what lives.
-- Replay   memory counts once: of several the youngest. Totals only fill up to themselves.
--
-- What is put in place of exchanges is a placeholder, so that one that comes home later by its id (from a spool,
-- a usage log, a gateway's last seconds) takes its place instead of being counted twice: see `late` in settle.
--   x:<month>  hash  n, @ (memory's us), @p (totals' us), B<counter> memory counted, *<counter> of it still without
--                    an exchange, <day> SEP app SEP model: placeholder of a cell
--   y:<month>  zset  late settlements counted in full, by when they were first acknowledged (us)

local NOISE_NANO, NOISE_SHARE = 10, 1e-10          -- totals are sums of floats

local ask = cjson.decode(ARGV[1])
local x_key, y_key = prefix .. 'x:' .. ask.month, prefix .. 'y:' .. ask.month
local month_counter = 'b:month:' .. ask.month
local first_day = ask.month .. '01'

local function settled_of(counter) return tonumber(redis.call('HGET', prefix .. counter, 's') or '0') end
local function x_number(field) return tonumber(redis.call('HGET', x_key, field) or '0') end

local before = settled_of(month_counter)
if is_closed(first_day) then return {int(before), int(before), '0', {}} end    -- its numbers are frozen
if x_number('n') > ask.n then return {int(before), int(before), '0', {}} end   -- told by one who is behind
local new_epoch = x_number('n') ~= ask.n
if new_epoch and not ask.dry then
  for _, field in ipairs(redis.call('HKEYS', x_key)) do
    if string.sub(field, 1, 1) == 'B' or string.sub(field, 1, 1) == '@' then redis.call('HDEL', x_key, field) end
  end
  redis.call('HSET', x_key, 'n', int(ask.n))
  redis.call('EXPIRE', x_key, TTL_S.day)
  if ask.t and not ask.empty then                  -- an older copy's holds: those that live are held again
    for _, raw in ipairs(redis.call('HVALS', holds_key)) do
      local hold = cjson.decode(raw)
      for _, c in ipairs(hold.c) do move(c[1], c[2], 0, -held_in(hold, c[1])) end
    end
    redis.call('DEL', holds_key, due_key)
    for _, b in ipairs(ask.b) do                   -- nothing is held now, whatever a torn copy says
      if redis.call('HEXISTS', prefix .. b[1], 'r') == 1 then redis.call('HSET', prefix .. b[1], 'r', '0') end
    end
  end
end

-- Memory. What came home late since, and was in it, is not counted again.
local function late_between(counter, from, to)
  local sum = 0
  local members = redis.call('ZRANGEBYSCORE', y_key, '(' .. int(from), int(to))
  for _, member in ipairs(members) do
    for _, part in ipairs(cjson.decode(member).c) do
      if part[1] == counter then sum = sum + tonumber(part[2]) end
    end
  end
  return sum
end

local remembered, pool_month = 0, x_number('*' .. month_counter)
local known_at = new_epoch and 0 or x_number('@')
if ask.t and ask.t > known_at then
  for _, b in ipairs(ask.b) do
    local counter, window, amount = b[1], b[2], b[3]
    local base = (not new_epoch) and redis.call('HGET', x_key, 'B' .. counter) or false
    local delta
    if base then
      delta = amount - tonumber(base) - late_between(counter, known_at, ask.t)
    elseif ask.empty then
      delta = amount - late_between(counter, 0, ask.t)
    else
      delta = amount - (settled_of(counter) - late_between(counter, ask.t, 2 ^ 53))
    end
    if delta < 0 then delta = 0 end
    if counter == month_counter then remembered, pool_month = delta, pool_month + delta end
    if not ask.dry then
      redis.call('HSET', x_key, 'B' .. counter, int(amount))
      if delta > 0 then
        redis.call('HINCRBY', x_key, '*' .. counter, int(delta))
        move(counter, window, delta, 0)
      end
    end
  end
  if not ask.dry then
    redis.call('HSET', x_key, '@', int(ask.t))
    if remembered > 0 then count_daily(first_day, REBUILT, REBUILT, remembered, 0, {}) end
  end
end

-- Put money into a day's cell: as count_daily, for very many at once.
local placed = {}
local function place(day, cell, part)
  local key = prefix .. 'd:' .. day
  if not placed[day] then
    redis.call('HINCRBY', key, cell .. '#', 0)
    redis.call('EXPIRE', key, DAILY_TTL_S)
    placed[day] = true
  end
  redis.call('HINCRBY', key, cell .. '$', int(part))
end

-- Totals of cells. First what stands without an exchange is given to them, then counters rise.
local rows = {}
local after = before + remembered
if ask.c and #ask.c > 0 then
  local have, have_day = {}, {}
  for day = 1, 31 do
    local d = ask.month .. string.format('%02d', day)
    local fields = redis.call('HGETALL', prefix .. 'd:' .. d)
    for i = 1, #fields, 2 do
      local cell = string.match(fields[i], '^(.*' .. SEP .. ')%$$')
      if cell then
        have[cell] = (have[cell] or 0) + tonumber(fields[i + 1])
        have_day[d .. SEP .. cell] = tonumber(fields[i + 1])
      end
    end
  end
  for _, c in ipairs(ask.c) do
    local cell, total = c[1] .. SEP .. c[2] .. SEP, 0
    for _, d in ipairs(c[3]) do total = total + d[2] end
    local missing = total - (have[cell] or 0)
    if missing > NOISE_NANO + total * NOISE_SHARE then
      rows[#rows + 1] = {c[1], c[2], int(have[cell] or 0), int(total), int(missing)}
      local from_pool = math.min(missing, pool_month)
      pool_month = pool_month - from_pool
      after = after + missing - from_pool
      if not ask.dry then
        local rest = missing
        for i, d in ipairs(c[3]) do
          local part = math.min(rest, math.max(0, d[2] - (have_day[d[1] .. SEP .. cell] or 0)))
          if i == #c[3] then part = rest end
          if part > 0 then
            place(d[1], cell, part)
            redis.call('HINCRBY', x_key, d[1] .. SEP .. c[1] .. SEP .. c[2], int(part))
            rest = rest - part
          end
        end
        if from_pool > 0 then count_daily(first_day, REBUILT, REBUILT, -from_pool, 0, {}) end
        for _, counter in ipairs(c[4]) do
          local taken = math.min(missing, x_number('*' .. counter[1]))
          if taken > 0 then redis.call('HINCRBY', x_key, '*' .. counter[1], int(-taken)) end
          if missing > taken then move(counter[1], counter[2], missing - taken, 0) end
        end
      end
    end
  end
  if not ask.dry and ask.p then redis.call('HSET', x_key, '@p', int(ask.p)) end
end
return {int(before), int(after), int(remembered), rows}
