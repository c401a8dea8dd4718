-- Daily: settled nano-USD of one team on each of its days. Stands alone: it needs nothing of common.lua.
--
-- KEYS     sg1:{team}:d:<day>, in one slot
-- Reply    a text a key; a cell's money stands in the field that ends in SEP `$`
-- Replay   reads only

local out = {}
for i, key in ipairs(KEYS) do
  local flat, sum = redis.call('HGETALL', key), 0
  for n = 1, #flat, 2 do
    if string.sub(flat[n], -2) == '\31$' then sum = sum + tonumber(flat[n + 1]) end
  end
  out[i] = string.format('%.0f', sum)
end
return out
