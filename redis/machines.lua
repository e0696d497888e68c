-- Renews the lease of a machine, or ends it, and tells which machines are alive.
--
-- KEYS[1]  the machines: a hash. Of each ID: when its lease ends, in ms, the number of
--          the call with which it joined, and its record. Besides, the epoch (e), the
--          number of calls in it (n) and the time of the last one in ms (t).
-- KEYS[2]  the secret
-- ARGV[1]  the ID of the caller
-- ARGV[2]  its record, or nothing to leave
-- ARGV[3]  the lease in ms
-- ARGV[4]  the epoch to begin if a new one is needed
-- ARGV[5]  what the caller knows of: the epoch
-- ARGV[6]  and the number of the last call
-- ARGV[7]  the secret to store if there is none
-- ARGV[8]  the channel that is told when a machine joins, changes or leaves
-- ARGV[9]  the message
--
-- Returns the epoch, the number of this call, the secret, in how many ms the next lease
-- of another machine ends, and of each machine its ID, number and record.
local time = redis.call('TIME')
local now, lease = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local at = redis.call('HMGET', KEYS[1], 'e', 'n', 't')
local epoch, n, last = at[1], tonumber(at[2] or 0), tonumber(at[3] or 0)

-- If nobody has called for some time, Redis was away, not the machines; and a failover
-- can change the clock. All leases then begin again.
local again = now - last > lease / 2 or now < last
-- A failover or an old snapshot can have lost calls, and with them machines.
if not epoch or (epoch == ARGV[5] and n < tonumber(ARGV[6])) then
	epoch, again = ARGV[4], true
end
n = n + 1
local number = string.format('%.0f', n)
-- The first write: with no memory left it is refused, and nothing has happened.
redis.call('HSET', KEYS[1], 'e', epoch, 'n', number, 't', string.format('%.0f', now))

local ending, soonest = string.format('%.0f', now + lease), lease
local told, mine, answer = false, nil, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	local id = all[i]
	local ends, joined, record = string.match(all[i + 1], '^(%d+) (%d+) (.*)$')
	if #id == 1 or not ends then
		-- not a machine
	elseif id == ARGV[1] then
		mine = {joined, record}
	elseif again or tonumber(ends) > now then
		if again then
			redis.call('HSET', KEYS[1], id, ending .. ' ' .. joined .. ' ' .. record)
		else
			soonest = math.min(soonest, tonumber(ends) - now)
		end
		table.insert(answer, id)
		table.insert(answer, joined)
		table.insert(answer, record)
	else
		redis.call('HDEL', KEYS[1], id)
		told = true
	end
end
if ARGV[2] == '' then
	redis.call('HDEL', KEYS[1], ARGV[1])
	told = told or mine ~= nil
else
	local joined = mine and mine[1] or number
	redis.call('HSET', KEYS[1], ARGV[1], ending .. ' ' .. joined .. ' ' .. ARGV[2])
	table.insert(answer, ARGV[1])
	table.insert(answer, joined)
	table.insert(answer, ARGV[2])
	told = told or not mine or mine[2] ~= ARGV[2]
end
-- What all have left is forgotten some time after it.
redis.call('PEXPIRE', KEYS[1], math.max(3600000, lease * 10))
redis.call('SET', KEYS[2], ARGV[7], 'NX')
if told then redis.call('SPUBLISH', ARGV[8], ARGV[9]) end
return {epoch, number, redis.call('GET', KEYS[2]), string.format('%.0f', soonest), answer}
