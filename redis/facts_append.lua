-- Adds facts of an app for its webhooks: all or none.
--
-- KEYS[1]  the facts: a stream, see facts.go
-- KEYS[2]  the machines that add facts: a hash of ID and number of the last call
-- ARGV[1]  the machine
-- ARGV[2]  the number of the call: one more than that of the last, which has no effect if
--          it is repeated
-- ARGV[3]  how many facts are kept
-- ARGV[4]  how long, in ms
-- ARGV[5…] for each fact: the number of the arguments that follow, and these
local before = redis.call('HMGET', KEYS[2], ARGV[1])[1]
if before == ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
-- A failover has lost calls of this machine, and with them facts.
if before and tonumber(before) + 1 < tonumber(ARGV[2]) then redis.call('XADD', KEYS[1], '*', 't', 'reset') end
local i = 5
while i <= #ARGV do
	local n = tonumber(ARGV[i])
	redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, i + 1, i + n))
	i = i + n + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
