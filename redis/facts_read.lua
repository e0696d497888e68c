-- Reads facts of an app.
--
-- KEYS[1]  the facts
-- ARGV[1]  after which one
-- ARGV[2]  how many there were up to that one, or '' if that is not known
-- ARGV[3]  how many to read
--
-- Returns the time in ms, how many facts there were before those that are returned, and
-- these.
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
if redis.call('EXISTS', KEYS[1]) == 0 then return {now, ARGV[2] == '' and '0' or ARGV[2], {}} end
local added, length
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
	if info[i] == 'entries-added' then added = info[i + 1] end
	if info[i] == 'length' then length = info[i + 1] end
end
local after, index = '(' .. ARGV[1], tonumber(ARGV[2])
if index then
	index = math.max(index, added - length) -- those up to here were trimmed
else
	index = added - #redis.call('XRANGE', KEYS[1], after, '+')
end
return {now, string.format('%.0f', index), redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', ARGV[3])}
