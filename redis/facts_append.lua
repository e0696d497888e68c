-- Adds facts of an app for its webhooks: all or none.
--
-- KEYS[1]  the facts: a stream, see facts.go
-- KEYS[2]  the machines that add facts: a hash of ID and number of the last call
-- ARGV[1]  the machine
-- ARGV[2]  the number of the call; one that was the last already changes nothing
-- ARGV[3]  how many facts are kept
-- ARGV[4]  how long, in ms
-- ARGV[5…] for each fact: the number of the arguments that follow, and these
if redis.call('HMGET', KEYS[2], ARGV[1])[1] == ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local i = 5
while i <= #ARGV do
	local n = tonumber(ARGV[i])
	redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, i + 1, i + n))
	i = i + n + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
