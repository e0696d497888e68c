-- Reads a channel's history.
--
-- KEYS[1]   the app's position, see publish.lua
-- KEYS[2]   a key that never exists, see there
-- ARGV[1]   what begins the names of the app's keys
-- ARGV[2]   the epoch
-- ARGV[3]   the channel
-- ARGV[4]   how many bytes of messages are read at most
--
-- Returns the time in milliseconds, an offset that no message which is not here exceeds,
-- except those before the next, the offset of the channel's last message or false, the
-- messages that are kept, the latest first, and 1 if there are more.
local time = redis.call('TIME')
local at = redis.call('HMGET', KEYS[1], 'o', 'p', 'q', 'r', 's')
local name = ':' .. ARGV[2] .. ':' .. ARGV[3]
-- The offset of the last message expires more than an hour later. Where it is
-- absent, all messages were published before the first mark of the last hour.
local hour = tonumber(time[1]) - 3600
local floor = at[1] or '0'
if at[2] and tonumber(at[2]) >= hour then
	floor = at[3]
elseif at[4] and tonumber(at[4]) >= hour then
	floor = at[5]
end
-- Some at a time, because what a script is answered costs the square of its size.
local stream, all, room, below, more = ARGV[1] .. 's' .. name, {}, tonumber(ARGV[4]), '+', 0
local count = 1
while below do
	local some, size = redis.call('XREVRANGE', stream, below, '-', 'COUNT', count), 0
	below = #some == count and '(' .. some[count][1]
	for _, entry in ipairs(some) do
		local text = entry[2][2]
		size = size + #text
		if size > room then
			below, more = false, 1
			break
		end
		all[#all + 1] = text
	end
	room = room - size
	count = math.max(1, math.min(16, math.floor(math.min(262144, room) * #some / math.max(size, 1))))
end
return {time[1] .. string.format('%03d', math.floor(time[2] / 1000)), floor, redis.call('GET', ARGV[1] .. 'p' .. name), all, more}
