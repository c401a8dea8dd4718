-- Close: freeze a team's month. From then on nothing changes it: what comes later for it falls into the open month.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] month (YYYYMM)   ARGV[3] who closes it ('': only look)
-- ARGV[4]  the budget that the month is judged by, as text ('': none); it is frozen with the numbers
-- Reply    {word, month's settled, sum of its cells, exchanges, digest of its cells, closed at (ms, 0: not), by, n}
--          word: `closed` (now); `again` (it was before, and is as it was); `changed` (it was before, and its numbers
--          are others now: n is what settled was); `open` (it ended less than ten minutes ago, or is only looked at); `holds` (n of its
--          requests are still in flight)
-- Replay   `again`.

local now, month, by = clock(ARGV[1]), ARGV[2], ARGV[3]
local cells, exchanges, digests = 0, 0, {}
for day = 1, 31 do
  local d = month .. string.format('%02d', day)
  local fields = redis.call('HGETALL', prefix .. 'd:' .. d)
  local lines = {}
  for i = 1, #fields, 2 do
    local sign = string.sub(fields[i], -2)
    if sign == SEP .. '$' or sign == SEP .. '~' then cells = cells + tonumber(fields[i + 1]) end
    if sign == SEP .. '#' then exchanges = exchanges + tonumber(fields[i + 1]) end
    if fields[i + 1] ~= '0' then lines[#lines + 1] = fields[i] .. '=' .. fields[i + 1] end
  end
  if #lines > 0 then
    table.sort(lines)
    digests[#digests + 1] = d .. redis.sha1hex(table.concat(lines, '\n'))
  end
end
local settled = redis.call('HGET', prefix .. 'b:month:' .. month, 's') or '0'
local digest = redis.sha1hex(settled .. ' ' .. table.concat(digests, ' '))

local function answer(word, at, who, n)
  return {word, settled, int(cells), int(exchanges), digest, int(at), who, int(n)}
end

local closed_key = prefix .. 'closed'
local raw = redis.call('HGET', closed_key, month)
if raw then
  local old = cjson.decode(raw)
  if old.x == digest then return answer('again', old.t, old.by, 0) end
  return answer('changed', old.t, old.by, tonumber(old.s))
end
-- ten minutes after its end, so that a clock that is set back a little does not spend in it again
if by == '' or month >= string.sub(day_id(now - 600000), 1, 6) then return answer('open', 0, '', 0) end
local held = 0
for _, record in ipairs(redis.call('HVALS', holds_key)) do
  if string.sub(cjson.decode(record).d, 1, 6) == month then held = held + 1 end
end
if held > 0 then return answer('holds', 0, '', held) end
redis.call('HSET', closed_key, month, cjson.encode({t = now, by = by, s = settled, x = digest, q = exchanges, b = ARGV[4]}))
redis.call('EXPIRE', closed_key, DAILY_TTL_S)
return answer('closed', now, by, 0)
