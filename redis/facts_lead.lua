-- Takes or renews the lease of the sender of an app's webhooks.
--
-- KEYS[1]  the sender: a hash of the epoch (e) and when it began (s), the owner of the
--          lease (o) and when it ends (t), how many records were saved (n), and the
--          records (r:<hook>). Times are in ms.
-- KEYS[2]  the facts
-- KEYS[3]  the machines that add facts
-- ARGV[1]  the caller
-- ARGV[2]  the lease in ms
-- ARGV[3]  the epoch to begin if a new one is needed
-- ARGV[4]  what the caller knows of: the epoch,
-- ARGV[5]  how many records were saved,
-- ARGV[6]  how many facts there were,
-- ARGV[7]  and the ID of the last one, 0-0 if that is not known
-- ARGV[8]  how long facts are kept, in ms
-- ARGV[9]  how long a sender is kept, in ms
--
-- Returns the owner, for how many ms it has the lease, the epoch and when it began, how
-- many records were saved, how many facts there were, the ID of the last one, the time
-- in ms, and the machines that add facts, each with a number.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(n) return string.format('%.0f', n) end

local added, last = 0, '0-0'
if redis.call('EXISTS', KEYS[2]) == 1 then
	local info = redis.call('XINFO', 'STREAM', KEYS[2])
	for i = 1, #info, 2 do
		if info[i] == 'entries-added' then added = info[i + 1] end
		if info[i] == 'last-generated-id' then last = info[i + 1] end
	end
end
local at = redis.call('HMGET', KEYS[1], 'e', 's', 'o', 't', 'n')
local epoch, since, owner, ends, n = at[1], at[2], at[3], tonumber(at[4] or 0), tonumber(at[5] or 0)

-- A failover or an old snapshot can have lost records and facts. Others may have come
-- since: then the last one that the caller knows is not there, although older ones are.
local function lost()
	if n < tonumber(ARGV[5]) or added < tonumber(ARGV[6]) then return true end
	return ARGV[7] ~= '0-0' and #redis.call('XRANGE', KEYS[2], ARGV[7], ARGV[7]) == 0
		and #redis.call('XRANGE', KEYS[2], '-', ARGV[7], 'COUNT', 1) == 1
end
if not epoch or (epoch == ARGV[4] and lost()) then
	redis.call('DEL', KEYS[1])
	epoch, since, owner, n = ARGV[3], text(now), false, 0
	redis.call('HSET', KEYS[1], 'e', epoch, 's', since, 'n', '0')
end
local lease = tonumber(ARGV[2])
-- A lease that would last longer than one is from before the clock was set back.
if not owner or owner == ARGV[1] or ends <= now or ends > now + lease then
	owner, ends = ARGV[1], now + lease
	redis.call('HSET', KEYS[1], 'o', owner, 't', text(ends))
	redis.call('PEXPIRE', KEYS[1], ARGV[9])
	redis.call('PEXPIRE', KEYS[2], ARGV[8])
	redis.call('PEXPIRE', KEYS[3], ARGV[8])
end
return {owner, text(ends - now), epoch, since, text(n), text(added), last, text(now), redis.call('HGETALL', KEYS[3])}
