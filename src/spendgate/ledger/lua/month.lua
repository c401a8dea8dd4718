-- Month: one team's month, of its days those that have anything. Stands alone: it needs nothing of common.lua.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  the month, YYYYMM
-- Reply    {settled, reserved, open holds, fields and values of a day, of the next one, …}
-- Replay   reads only

local prefix = string.sub(KEYS[1], 1, -6)
local counter = redis.call('HMGET', prefix .. 'b:month:' .. ARGV[1], 's', 'r')
local out = {counter[1] or '0', counter[2] or '0', redis.call('HLEN', KEYS[1])}
for day = 1, 31 do
  local cells = redis.call('HGETALL', string.format('%sd:%s%02d', prefix, ARGV[1], day))
  if #cells > 0 then out[#out + 1] = cells end
end
return out
