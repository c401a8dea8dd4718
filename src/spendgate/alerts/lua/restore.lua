-- Put back what Redis lost: fields that a process remembers and the hash lacks.
--
-- ARGV     field, value, …
-- Reply    how many were put back

local n = 0
for i = 1, #ARGV, 2 do
  if ARGV[i] == '~' then
    local have = tonumber(redis.call('HGET', KEYS[1], '~') or '0')
    if tonumber(ARGV[i + 1]) > have then redis.call('HSET', KEYS[1], '~', ARGV[i + 1]) end
  else
    n = n + redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('EXPIRE', KEYS[1], TTL_S)
return n
