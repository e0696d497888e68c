-- Reads facts of an app.
--
-- KEYS[1]  the facts
-- ARGV[1]  after which one
-- ARGV[2]  how many there were up to that one, or '' if that is not known
-- ARGV[3]  how many to read at most; after 512 KiB, no more are read
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
local after, index, most = '(' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if index then index = math.max(index, added - length) end -- those up to here were trimmed
-- Few at a time, because what a script is answered costs the square of its size. If the
-- number before them is not known, all are counted.
local page, size, room, rest, count = {}, 0, 524288, 0, 1
repeat
	local some, bytes = redis.call('XRANGE', KEYS[1], after, '+', 'COUNT', count), 0
	for _, entry in ipairs(some) do
		after = '(' .. entry[1]
		local length = 0
		for _, field in ipairs(entry[2]) do length = length + #field end
		bytes = bytes + length
		if #page < most and size < room then
			page[#page + 1], size = entry, size + length
		end
	end
	rest = rest + #some
	local last = #some < count or index and (#page == most or size >= room)
	count = math.max(1, math.min(16, math.floor(262144 * #some / math.max(bytes, 1))))
until last
return {now, string.format('%.0f', index or added - rest), page}
