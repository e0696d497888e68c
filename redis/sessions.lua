-- Keeps a session of a machine, unless another machine has taken it.
--
-- KEYS[1]   the session: a hash of its machine (m), version (v) and record (r)
-- ARGV[1]   the machine
-- ARGV[2]   the version: an older one than that which is kept changes nothing
-- ARGV[3]   the record
-- ARGV[4]   for how many milliseconds it is kept
--
-- Returns 0 if another machine has the session.
local kept = redis.call('HMGET', KEYS[1], 'm', 'v')
if kept[1] and kept[1] ~= ARGV[1] then return 0 end
if kept[2] and tonumber(kept[2]) > tonumber(ARGV[2]) then return 1 end
redis.call('HSET', KEYS[1], 'm', ARGV[1], 'v', ARGV[2], 'r', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
