-- Changes what a machine says of the channels of one app: which users it has in them, and
-- whether it has subscribers there, which counts as a user without a name.
--
-- KEYS[1]   the app's number of changes (n), in an epoch (e)
-- KEYS[2]   a key that never exists, see publish.lua
-- ARGV[1]   what begins the names of all keys in the slot
-- ARGV[2]   what comes after that in the names of the app's keys
-- ARGV[3]   the machine
-- ARGV[4]   the machine's mark
-- ARGV[5]   the epoch to begin if a new one is needed
-- ARGV[6…]  the changes, each: what it is ('+' adds a user, '-' removes one), the channel,
--           which facts are kept ('o' that the channel is occupied or vacated, 'm' that
--           members join and leave), the user's name and info
--
-- The keys, besides: "v:<channel>" of an app is a hash of the users ("u<user>": the IDs of
-- the machines that have it, all together, a space, and the info) and the number of the
-- last change (n). "f" of an app has the facts. "w:<machine>" of the slot is a hash of the
-- number of users by app and channel, and the mark without a name; "w" of the slot has the
-- machines that have such a hash.
--
-- Returns 1, or 0 if the machine has another mark: then nothing has happened.
local lane, app, machine, mark = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local base, index = lane .. app, lane .. 'w:' .. machine
if redis.call('HGET', index, '') ~= mark then return 0 end

local day = 86400000
local function text(n) return string.format('%.0f', n) end

-- tell tells the machines that are in a channel, in order with its messages.
local function tell(channel, key, what, user, info)
	local epoch = redis.call('HGET', KEYS[1], 'e')
	if not epoch then
		epoch = ARGV[5]
		redis.call('HSET', KEYS[1], 'e', epoch)
	end
	local n = text(redis.call('HINCRBY', KEYS[1], 'n', 1))
	redis.call('PEXPIRE', KEYS[1], day)
	local before = redis.call('HGET', key, 'n') or '0'
	redis.call('HSET', key, 'n', n)
	redis.call('SPUBLISH', base .. 'c:' .. channel,
		'\2' .. what .. ' ' .. epoch .. ' ' .. before .. ' ' .. n .. ' ' .. #user .. '\n' .. user .. info)
end

local function fact(facts, channel, began, user, info)
	local name = base .. 'f'
	if user == '' then
		if not string.find(facts, 'o') then return end
		redis.call('XADD', name, 'MAXLEN', '~', '10000', '*', 't', began and 'occupied' or 'vacated', 'c', channel)
	else
		if not string.find(facts, 'm') then return end
		redis.call('XADD', name, 'MAXLEN', '~', '10000', '*', 't', began and 'joined' or 'left', 'c', channel, 'u', user, 'i', info)
	end
	redis.call('PEXPIRE', name, 90000000) -- as in facts.go
end

-- split returns the machines that have a user, and its info.
local function split(value)
	local space = string.find(value, ' ', 1, true)
	return string.sub(value, 1, space - 1), string.sub(value, space + 1)
end

-- find returns where this machine is among others.
local function find(machines)
	for i = 1, #machines, #machine do
		if string.sub(machines, i, i + #machine - 1) == machine then return i end
	end
end

local function add(channel, facts, user, info)
	local key, field = base .. 'v:' .. channel, 'u' .. user
	local value = redis.call('HGET', key, field)
	local machines, known = '', nil
	if value then machines, known = split(value) end
	local new = not find(machines)
	if not new and known == info then return end
	redis.call('HSET', key, field, machines .. (new and machine or '') .. ' ' .. info)
	if new then redis.call('HINCRBY', index, app .. channel, 1) end
	if not value then fact(facts, channel, true, user, info) end
	if user == '' then return end
	if not value then
		tell(channel, key, '+', user, info)
	elseif known ~= info then
		tell(channel, key, 'i', user, info)
	end
end

local function remove(channel, facts, user)
	local key, field = base .. 'v:' .. channel, 'u' .. user
	local value = redis.call('HGET', key, field)
	if not value then return end
	local machines, info = split(value)
	local i = find(machines)
	if not i then return end
	machines = string.sub(machines, 1, i - 1) .. string.sub(machines, i + #machine)
	if machines == '' then
		redis.call('HDEL', key, field)
	else
		redis.call('HSET', key, field, machines .. ' ' .. info)
	end
	if redis.call('HINCRBY', index, app .. channel, -1) <= 0 then redis.call('HDEL', index, app .. channel) end
	if machines ~= '' then return end
	fact(facts, channel, false, user, info)
	if user ~= '' then tell(channel, key, '-', user, '') end
	if redis.call('HLEN', key) == 1 and redis.call('HGET', key, 'n') then redis.call('UNLINK', key) end
end

for i = 6, #ARGV, 5 do
	local what, channel, facts, user, info = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
	if what == '-' then
		remove(channel, facts, user)
	else
		add(channel, facts, user, info)
	end
end
return 1
