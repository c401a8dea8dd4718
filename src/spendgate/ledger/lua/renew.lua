-- Renew: move the deadlines of holds whose exchanges still live.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] ttl (ms)   ARGV[3…] exchange ids
-- Reply    how many of them were still held
-- Replay   moves the deadline again; an id that is no longer held is left alone.

local deadline = int(clock(ARGV[1]) + tonumber(ARGV[2]))
local n = 0
for i = 3, #ARGV do
  if redis.call('HEXISTS', holds_key, ARGV[i]) == 1 then
    redis.call('ZADD', due_key, deadline, ARGV[i])
    n = n + 1
  end
end
return n
