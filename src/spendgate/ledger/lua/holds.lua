-- Holds: what is in flight, the nearest deadline first.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] at most so many
-- Reply    {now, all that are held, [exchange id, record, deadline] ...}
-- Replay   reads only.

local due = redis.call('ZRANGE', due_key, 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
local out = {int(clock(ARGV[1])), redis.call('HLEN', holds_key)}
for i = 1, #due, 2 do
  local raw = redis.call('HGET', holds_key, due[i])
  if raw then out[#out + 1] = {due[i], raw, due[i + 1]} end
end
return out
