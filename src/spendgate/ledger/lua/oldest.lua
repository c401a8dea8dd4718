-- Oldest: since when the oldest hold is held, for a gauge.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] where there are more holds than this, a sample of so many is read
-- Reply    {now, holds, reserved at of the oldest (0: none), how many are past their deadline}
-- Replay   reads only.

local now, most = clock(ARGV[1]), tonumber(ARGV[2])
local n = redis.call('HLEN', holds_key)
local oldest = 0
if n > 0 then
  local records = n <= most and redis.call('HVALS', holds_key)
    or redis.call('HRANDFIELD', holds_key, most, 'WITHVALUES')
  for _, raw in ipairs(records) do
    local at = tonumber(string.match(raw, '"t":([%d.e+]+)') or '0')
    if at > 0 and (oldest == 0 or at < oldest) then oldest = at end
  end
end
return {int(now), n, int(oldest), redis.call('ZCOUNT', due_key, '-inf', int(now))}
