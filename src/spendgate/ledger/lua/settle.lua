-- Settle or release a batch of one team's exchanges.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)
-- ARGV[2…] JSON each: {id, app, m: model, e: cost (nano-USD), u: {kind: n}, t: reserved at (ms),
--           x: release?, s: [[scope, window] ...]}
-- Reply    one word each: `settled`, `released`, `corrected` (its hold had expired), `replayed`
-- Replay   the marker of an ended exchange (one hour) makes a second settle or release change nothing.
--          A hold that Redis lost is charged all the same, in the windows of its reservation.

local now = clock(ARGV[1])

local function settle(s)
  local raw = redis.call('HGET', holds_key, s.id)
  local release = s.x == true
  local cost = release and 0 or s.e
  local exchanges = release and 0 or 1
  local usage = release and {} or (s.u or {})
  local marker = marker_key(s.id)
  if raw then
    local hold = cjson.decode(raw)
    for _, c in ipairs(hold.c) do move(c[1], c[2], cost, -hold.e) end
    redis.call('HDEL', holds_key, s.id)
    redis.call('ZREM', due_key, s.id)
    if exchanges > 0 then count_daily(hold.d, hold.a, s.m, cost, 1, usage) end
    local word = release and 'released' or 'settled'
    redis.call('SET', marker, word .. raw, 'EX', MARKER_TTL_S)
    return word
  end
  local ended = redis.call('GET', marker)
  if ended and string.sub(ended, 1, 7) == 'expired' then
    raw = string.sub(ended, 8)
    local hold = cjson.decode(raw)
    for _, c in ipairs(hold.c) do move(c[1], c[2], cost - hold.e, 0) end
    count_daily(hold.d, hold.a, hold.m, -hold.e, -1, {})
    if exchanges > 0 then count_daily(hold.d, hold.a, s.m, cost, 1, usage) end
    redis.call('SET', marker, (release and 'released' or 'settled') .. raw, 'EX', MARKER_TTL_S)
    return 'corrected'
  end
  if ended then return 'replayed' end
  local at = s.t > 0 and s.t or now
  if not release then
    for _, b in ipairs(s.s) do move(counter_key(b[1], b[2], at), b[2], cost, 0) end
    count_daily(day_id(at), s.app, s.m, cost, 1, usage)
  end
  redis.call('SET', marker, release and 'released' or 'settled', 'EX', MARKER_TTL_S)
  return release and 'released' or 'settled'
end

local out = {}
for i = 2, #ARGV do out[#out + 1] = settle(cjson.decode(ARGV[i])) end
return out
