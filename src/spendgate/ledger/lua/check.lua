-- Check: may this user do what the ledger's scripts do? Every command is tried on keys of its own.
--
-- KEYS[1]  sg1:{~check}:holds
-- Reply    {command, what Redis says of it, …} for each that is refused
-- Replay   the keys are deleted at the end, and gone within a minute anyway.

local prefix = string.sub(KEYS[1], 1, -6)
local h, z, s, v, l = prefix .. 'h', prefix .. 'z', prefix .. 's', prefix .. 'v', prefix .. 'l'
local tries = {
  {'TIME'}, {'EXISTS', h, prefix .. '~'}, {'HSET', h, 'f', '1'}, {'HSETNX', h, 'f', '1'},
  {'HINCRBY', h, 'f', '1'}, {'HGET', h, 'f'}, {'HMGET', h, 'f', 'g'}, {'HGETALL', h}, {'HKEYS', h}, {'HVALS', h},
  {'HEXISTS', h, 'f'}, {'HLEN', h}, {'HDEL', h, 'f'}, {'ZADD', z, '1', 'm'},
  {'ZRANGEBYSCORE', z, '-inf', '1', 'LIMIT', '0', '1'}, {'ZREM', z, 'm'}, {'SADD', s, '1'}, {'SISMEMBER', s, '1'},
  {'SCARD', s}, {'SMEMBERS', s}, {'SET', v, '1', 'EX', '60'}, {'GET', v}, {'MGET', v, prefix .. 'w'}, {'EXPIRE', s, '60'}, {'LPUSH', l, '1'},
  {'LTRIM', l, '0', '1'}, {'LRANGE', l, '0', '1'}, {'EXPIRE', l, '60'}, {'PUBLISH', 'sg1:check', '1'},
  {'DEL', h, z, s, v, l},
}
local refused = {}
for _, command in ipairs(tries) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then
    refused[#refused + 1] = command[1]
    refused[#refused + 1] = reply.err
  end
end
return refused
