-- Expire: settle at the estimate what nobody settled in time.
--
-- KEYS[1]  sg1:{team}:holds
-- ARGV[1]  now (ms, 0: Redis' clock)   ARGV[2] at most so many
-- Reply    [[exchange id, app, model, charged, reserved at] ...]
-- Replay   finds nothing overdue and changes nothing.

return sweep(clock(ARGV[1]), tonumber(ARGV[2]))
