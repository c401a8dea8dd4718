-- Claim the first alert of a target that is not told yet; the order is that of opening, one at a time.
--
-- ARGV     now (ms, 0: Redis' clock), owner, time to live of the claim (ms), target
-- Reply    {'yours', crossing, alert, 1 if it may have been sent before, order} | {'busy', ms left} | {'none'}

local now, owner, ttl, wanted = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]
local all = redis.call('HGETALL', KEYS[1])
local first, record = nil, nil
for i = 1, #all, 2 do
  local _, target = crossing_of(all[i])
  if target == wanted then
    local r = cjson.decode(all[i + 1])
    if (r.s == 'open' or r.s == 'claimed') and (not record or r.n < record.n) then
      first, record = all[i], r
    end
  end
end
if not record then return {'none'} end
if record.s == 'claimed' then
  if record.o ~= owner and record.d > now then return {'busy', record.d - now} end
  record.m = 1                                     -- its owner died or froze: between which lines, nobody knows
end
record.s, record.o, record.d = 'claimed', owner, now + ttl
redis.call('HSET', KEYS[1], first, cjson.encode(record))
return {'yours', (crossing_of(first)), record.a, record.m or 0, record.n}
