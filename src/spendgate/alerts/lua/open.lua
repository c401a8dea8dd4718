-- Write down crossings to be told, and arm again those that a raise undid. All in one step.
--
-- ARGV[1]  JSON {seen: the budget as it is now ('': not said), quiet: [{k, r}],
--                open: [{k: crossing, r: its record, a: alert, t: [targets], f: also where it is quiet}],
--                arm: [{k, seen: record as the caller read it, r: new record}]}
-- Reply    the crossings that this call opened: whoever comes second opens nothing

local ask = cjson.decode(ARGV[1])
local opened = {}

for _, x in ipairs(ask.arm) do
  if redis.call('HGET', KEYS[1], x.k) == x.seen then
    local fields, busy = {}, false
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
      local k, target = crossing_of(field)
      if target and k == x.k then
        fields[#fields + 1] = field
        local s = cjson.decode(redis.call('HGET', KEYS[1], field)).s
        if s == 'open' or s == 'claimed' then busy = true end
      end
    end
    if not busy then
      for _, field in ipairs(fields) do redis.call('HDEL', KEYS[1], field) end
      redis.call('HSET', KEYS[1], x.k, x.r)
    end
  end
end

for _, x in ipairs(ask.quiet) do
  local have = redis.call('HGET', KEYS[1], x.k)
  if not have or cjson.decode(have).s == 'armed' then redis.call('HSET', KEYS[1], x.k, x.r) end
end
if ask.seen ~= '' then redis.call('HSET', KEYS[1], '=', ask.seen) end

for _, x in ipairs(ask.open) do
  local have = redis.call('HGET', KEYS[1], x.k)
  local state = have and cjson.decode(have).s
  if not have or state == 'armed' or (x.f and state == 'quiet') then
    redis.call('HSET', KEYS[1], x.k, x.r)
    for _, target in ipairs(x.t) do
      local n = redis.call('HINCRBY', KEYS[1], '~', 1)
      redis.call('HSET', KEYS[1], x.k .. '@' .. target, cjson.encode({s = 'open', n = n, a = x.a}))
    end
    opened[#opened + 1] = x.k
  end
end

redis.call('EXPIRE', KEYS[1], TTL_S)
return opened
