-- Has alerting begun on this store? Who comes first writes down quietly what is crossed already.
--
-- KEYS[1]  sg1:alerts
-- ARGV     owner, time to live of the beginning (ms), 1 if the caller remembers the time before
-- Reply    'ready', 'baseline' (do it, then set `ready`), 'wait' (another does it)

local v = redis.call('GET', KEYS[1])
if v == 'ready' then return 'ready' end
if not v and ARGV[3] == '1' then
  redis.call('SET', KEYS[1], 'ready')
  return 'ready'
end
if not v or v == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 'baseline'
end
return 'wait'
