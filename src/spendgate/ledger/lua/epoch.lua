-- Epoch: the mark by which everybody notices that Redis lost what it had been told.
--
-- KEYS[1]  sg1:epoch, a hash: id, number, state (`whole`; `lost`: spend is being rebuilt), since (ms), empty
--          (1: nothing at all was left), and `b:<process>`: the last beat of each process
-- ARGV[1]  the process   ARGV[2] its beat (0: it only looks, nothing is written)   ARGV[3] the id that it knows ('': none)
-- ARGV[4]  the number that it knows   ARGV[5] its last beat that was acknowledged (0: none)
-- ARGV[6]  a fresh id   ARGV[7] `beat`; `lose`: another part of a cluster lost its data; or `whole`: the spend
--          of epoch ARGV[3] is rebuilt
-- Reply    {id, number, state, since, empty, now (us)}
-- Replay   a beat sent again is the same beat; `whole` for another epoch changes nothing.
--
-- Lost means: the key is gone though the process knew an epoch; or the process' own last beat is missing, or an
-- older one stands in its place (Redis went back to an older copy); or the epoch is an older one. The first that
-- notices begins a new epoch, with a number that nobody had before.

local KEEP_US = 2 * 86400 * 1000000
local key = KEYS[1]
local process, beat, id, number = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local acknowledged, fresh = tonumber(ARGV[5]), ARGV[6]
local t = redis.call('TIME')
local now = string.format('%.0f', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000))
local now_us = string.format('%.0f', tonumber(t[1]) * 1000000 + tonumber(t[2]))

local stored = redis.call('HMGET', key, 'id', 'number')
local stored_number = tonumber(stored[2] or '0')

local function begin(state, empty)
  local next_number = math.max(number, stored_number) + 1
  redis.call('HSET', key, 'id', fresh, 'number', next_number, 'state', state, 'since', now, 'empty', empty)
end

if beat > 0 and beat % 1000 == 0 then              -- now and then: processes that are gone
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'b:' and tonumber(fields[i + 1]) < beat - KEEP_US then
      redis.call('HDEL', key, fields[i])
    end
  end
end

if not stored[1] then
  if beat == 0 then                                -- only looked at
  elseif id == '' then begin('whole', 0) else begin('lost', 1) end
elseif id ~= '' then
  local last = tonumber(redis.call('HGET', key, 'b:' .. process) or '0')
  local went_back = acknowledged > 0 and last < acknowledged
  -- another's newer epoch tells of the same loss: it is not begun twice
  if stored_number < number
    or (stored_number == number and (stored[1] ~= id or went_back or ARGV[7] == 'lose')) then
    begin('lost', 0)
  end
end
if ARGV[7] == 'whole' and stored[1] == id then redis.call('HSET', key, 'state', 'whole') end
if beat > 0 then redis.call('HSET', key, 'b:' .. process, string.format('%.0f', beat)) end

local out = redis.call('HMGET', key, 'id', 'number', 'state', 'since', 'empty')
out[#out + 1] = now_us
return out
