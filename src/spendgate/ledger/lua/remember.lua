-- Remember: what counters say at one instant, for whoever must know it when Redis no longer does.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV     counters without the team's prefix, for example b:month:202611
-- Reply    {now (us), settled of each ...}
-- Replay   reads only.

local t = redis.call('TIME')
local out = {string.format('%.0f', tonumber(t[1]) * 1000000 + tonumber(t[2]))}
for i = 1, #ARGV do out[i + 1] = redis.call('HGET', prefix .. ARGV[i], 's') or '0' end
return out
