-- Publishes messages of one app: all or none, in one round trip.
--
-- KEYS[1]   the app's position: a hash of epoch (e) and offset (o), and two times
--           (p, r) with the offsets of then (q, s)
-- ARGV[1]   what begins the names of the app's keys
-- ARGV[2]   the epoch to begin if a new one is needed
-- ARGV[3]   the position that the caller knows of: its epoch
-- ARGV[4]   and its offset
-- ARGV[5…]  five for each message: channel, body, number of messages that its
--           channel keeps (0: this one is not kept), their age in milliseconds, and
--           1 if it is not part of the history
--
-- Returns the epoch, and the offset before that of the first message.
local base = ARGV[1]
local time = redis.call('TIME')
local at = redis.call('HMGET', KEYS[1], 'e', 'o', 'r')
local epoch, offset, marked = at[1], tonumber(at[2] or 0), tonumber(at[3] or 0)
-- A failover or an old snapshot can have lost offsets that were already given.
if not epoch or (epoch == ARGV[3] and offset < tonumber(ARGV[4])) then
	epoch, offset, marked = ARGV[2], 0, 0
	redis.call('DEL', KEYS[1])
end
-- Marks of where the app stood half an hour to an hour ago, see fill.lua.
if tonumber(time[1]) - marked >= 1800 then
	local mark = redis.call('HMGET', KEYS[1], 'r', 's')
	redis.call('HSET', KEYS[1], 'p', mark[1] or 0, 'q', mark[2] or 0, 'r', time[1], 's', string.format('%.0f', offset))
end

-- The first write: with no memory left it is refused, and nothing has happened.
redis.call('HSET', KEYS[1], 'e', epoch, 'o', string.format('%.0f', offset + (#ARGV - 4) / 5))

local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local first = string.format('%.0f', offset)
for i = 5, #ARGV, 5 do
	local channel, body, keep, age, skip = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
	offset = offset + 1
	local number = string.format('%.0f', offset)
	local before = base .. 'p:' .. epoch .. ':' .. channel
	local envelope = '\1' .. epoch .. ' ' .. number .. ' ' .. (redis.call('GET', before) or '0') .. ' ' .. now .. '\n' .. body
	if skip ~= '1' then
		-- Longer than a machine is cut off, and still tries to fill the gap.
		redis.call('SET', before, number, 'PX', math.max(3600000, tonumber(age)))
	end
	if keep ~= '0' then
		local stream = base .. 's:' .. epoch .. ':' .. channel
		redis.call('XADD', stream, 'MAXLEN', keep, number .. '-0', 'm', envelope)
		if redis.call('PTTL', stream) < tonumber(age) then
			redis.call('PEXPIRE', stream, age)
		end
	end
	redis.call('SPUBLISH', base .. 'c:' .. channel, envelope)
end
return {epoch, first}
