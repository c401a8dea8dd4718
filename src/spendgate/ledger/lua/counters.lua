-- Counters: settled and reserved of bounds, in the windows of now, all at one instant.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2…] scope and window, by turns
-- Reply    {now, holds, [settled, reserved] ...}
-- Replay   reads only.

local now = clock(ARGV[1])
local today = day_id(now)
local out = {int(now), redis.call('HLEN', holds_key)}
for i = 2, #ARGV, 2 do
  local v = redis.call('HMGET', prefix .. counter_of(ARGV[i], ARGV[i + 1], now, today), 's', 'r')
  out[#out + 1] = {v[1] or '0', v[2] or '0'}
end
return out
