-- End a claim: delivered, refused (nobody will try again), or open (to be tried again, by anybody).
--
-- ARGV     owner, crossing, target, state, 1 if it may have been sent
-- Reply    1 done, 2 done although another has the claim by now, 0 nothing: not ours, ended, or no record

local owner, field, state, maybe = ARGV[1], ARGV[2] .. '@' .. ARGV[3], ARGV[4], tonumber(ARGV[5])
local raw = redis.call('HGET', KEYS[1], field)
if not raw then return 0 end
local record = cjson.decode(raw)
if record.s ~= 'claimed' and record.s ~= 'open' then return 0 end
local mine = record.s == 'claimed' and record.o == owner
-- delivered is a fact, whoever has the claim: it keeps the next one from sending
if not mine and state ~= 'delivered' then return 0 end
record.s, record.o, record.d = state, nil, nil
if state == 'open' then
  if maybe == 1 then record.m = 1 end
else
  record.a = nil
end
redis.call('HSET', KEYS[1], field, cjson.encode(record))
return mine and 1 or 2
