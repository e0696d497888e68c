-- Reads a channel's history.
--
-- KEYS[1]   the app's position, see publish.lua
-- KEYS[2]   a key that never exists, see there
-- ARGV[1]   what begins the names of the app's keys
-- ARGV[2]   the epoch
-- ARGV[3]   the channel
--
-- Returns the time in milliseconds, an offset that no message which is not here exceeds,
-- except those before the next, the offset of the channel's last message or false, and
-- the messages that are kept.
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
local all = {}
for i, entry in ipairs(redis.call('XRANGE', ARGV[1] .. 's' .. name, '-', '+')) do
	all[i] = entry[2][2]
end
return {time[1] .. string.format('%03d', math.floor(time[2] / 1000)), floor, redis.call('GET', ARGV[1] .. 'p' .. name), all}
