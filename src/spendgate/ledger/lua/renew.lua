-- Renew: move the deadlines of holds whose exchanges still live, and let those of streams grow with what flows.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] ttl (ms)
-- ARGV[3…] exchange ids, or JSON [id, flowed, wanted, [ceiling (-1: none) of each of its bounds]]: what has flowed is
--          held in any case, since it is spent; what is wanted beyond it as far as every bound has room.
-- Reply    {how many of them were still held, [id, held now, room left in the tightest bound (-1: no bound)] ...}
-- Replay   moves the deadline again, and grants nothing twice; an id that is no longer held is left alone.

local deadline = int(clock(ARGV[1]) + tonumber(ARGV[2]))

-- Grow one hold. Gives what is held now, and the room that is left.
local function grow(id, raw, flowed, wanted, ceilings)
  local hold = cjson.decode(raw)
  local held = tonumber(hold.e)
  local room = nil
  for i, c in ipairs(hold.c) do
    local ceiling = ceilings[i] or -1
    if ceiling >= 0 and not unit_of(c[1]) then
      local v = balance(c[1])
      local left = ceiling - v[1] - v[2]
      room = math.min(room or left, left)
    end
  end
  local step = wanted - held
  if room then step = math.min(step, room) end
  step = math.max(step, flowed - held, 0)
  if step > 0 then
    for _, c in ipairs(hold.c) do
      if not unit_of(c[1]) then move(c[1], c[2], 0, step) end
    end
    hold.e = int(held + step)
    redis.call('HSET', holds_key, id, cjson.encode(hold))
  end
  return {id, int(held + step), int(room and math.max(room - step, 0) or -1)}
end

local out = {0}
for i = 3, #ARGV do
  local id, growing = ARGV[i], nil
  if string.sub(id, 1, 1) == '[' then
    growing = cjson.decode(id)
    id = growing[1]
  end
  local raw = redis.call('HGET', holds_key, id)
  if raw then
    redis.call('ZADD', due_key, deadline, id)
    out[1] = out[1] + 1
    if growing then out[#out + 1] = grow(id, raw, growing[2], growing[3], growing[4]) end
  end
end
return out
