-- Settle or release a batch of one team's exchanges.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)
-- ARGV[2…] JSON each: {id, app, m: model, e: cost (nano-USD), u: {kind: n}, t: reserved at (ms),
--           x: release?, s: [[scope, window] ...]}
-- Reply    one word each: `settled`, `released`, `corrected` (its hold had expired), `replayed`
-- Replay   the marker of an ended exchange (seven days) makes a second settle or release change nothing.
--          A hold that Redis lost is charged all the same, in the windows of its reservation.

local now = clock(ARGV[1])

local function settle(s)
  local release = s.x == true
  local cost = release and 0 or s.e
  local word = release and 'released' or 'settled'
  local raw = redis.call('HGET', holds_key, s.id)
  if raw then
    local hold = cjson.decode(raw)
    local held = tonumber(hold.e)
    for _, c in ipairs(hold.c) do move(c[1], c[2], cost, -held) end
    redis.call('HDEL', holds_key, s.id)
    redis.call('ZREM', due_key, s.id)
    if not release then count_daily(hold.d, hold.a, s.m, cost, 1, s.u) end
    mark(s.id, now)
    return word
  end
  raw = redis.call('GET', expired_key(s.id))
  if raw then
    local hold = cjson.decode(raw)
    local held = tonumber(hold.e)
    for _, c in ipairs(hold.c) do move(c[1], c[2], cost - held, 0) end
    count_daily(hold.d, hold.a, hold.m, -held, -1, {})
    if not release then count_daily(hold.d, hold.a, s.m, cost, 1, s.u) end
    redis.call('DEL', expired_key(s.id))
    mark(s.id, now)
    return 'corrected'
  end
  if ended(s.id, now, now - MARKER_DAYS * DAY_MS) then return 'replayed' end
  if not release then
    local at = s.t > 0 and s.t or now
    local day = day_id(at)
    for _, b in ipairs(s.s) do move(counter_of(b[1], b[2], at, day), b[2], cost, 0) end
    count_daily(day, s.app, s.m, cost, 1, s.u)
  end
  mark(s.id, now)
  return word
end

local out = {}
for i = 2, #ARGV do out[#out + 1] = settle(cjson.decode(ARGV[i])) end
return out
