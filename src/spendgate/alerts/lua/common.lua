-- Common part of the alerts' scripts; the loader puts it before each.
--
-- KEYS[1]  sg1:{team}:a:<YYYYMM>, or for thresholds of limits sg1:{team}:a:limits:<YYYYMMDD, YYYYMM or total>, a hash:
--   <crossing>            {s: open|quiet|armed, l: limit it was crossed at (nano-USD, text)}
--   <crossing>@<target>   {s: open|claimed|delivered|refused, n: order, a: alert (JSON as text),
--                          o: owner of the claim, d: its deadline (ms), m: 1 if it may have been sent}
--   =                     the budget that the last look found: its limit and thresholds
-- `~` counts the order. Amounts never pass through Lua's numbers: they stand inside texts.

local TTL_S = 70 * 86400

local function clock(given)
  local now = tonumber(given)
  if now > 0 then return now end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function crossing_of(field)
  local at = string.find(field, '@', 1, true)
  if at then return string.sub(field, 1, at - 1), string.sub(field, at + 1) end
  return field, nil
end
