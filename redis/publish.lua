-- Publishes of one app, in one round trip. Of each, all messages are published or none.
--
-- KEYS[1]   the app's position: a hash of epoch (e) and offset (o), and two times
--           (p, r) with the offsets of then (q, s)
-- KEYS[2]   a key that never exists: while Cluster moves the slot, when some of the
--           keys are on another server, the script is refused
-- ARGV[1]   what begins the names of the app's keys
-- ARGV[2]   the epoch to begin if a new one is needed, and those that must not go on
-- ARGV[3]   the position that the caller knows of: its epoch
-- ARGV[4]   and its offset
-- ARGV[5]   how many messages are accepted in a window, or '' for no limit
-- ARGV[6]   the window in microseconds
-- ARGV[7]   how many messages all publishes have
-- ARGV[8]   how many kinds of messages there are
-- ARGV[9…]  of each kind, five: how many messages of a channel are kept (0: none of this
--           kind); their age, how long Redis keeps them, and how long the offset of the
--           channel's last message, in milliseconds; and 1 if it is not part of the history.
--           Then of each publish: how many messages it has; and the name of its idempotency
--           key, or ''. If it has one, also the digest of the body that it came with, 32
--           bytes; and the messages' numbers of subscribers, which a repetition is answered.
--           Then of each of its messages, three: the number of its kind, channel and body.
--
-- Returns of each publish a text of words: what has happened: 'published', 'replayed',
-- 'limited' or 'mismatch'; if there is a limit, how many more are accepted, in how many
-- microseconds all are, and in how many as many as these are; then the epoch, and the
-- offset before that of the first message, or for a replay, what is kept with the key.
-- Returns nothing, and does nothing, if a new epoch is needed and ARGV[2] has none.
local call, format = redis.call, string.format
local base, limit, window = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local count -- of the messages of the publish at hand
local lifetime, maxKeys = 300000, 100000 -- as in the package idempotent

local clock = redis.call('TIME')
local function text(n) return format('%d', n) end

-- The rolling limit is that of the package limit, which describes it. Its log is a list,
-- oldest entry first. An entry is a number of events (n) that count as if they happened
-- at the time of the last one (at). The first of them happened earlier (by span), and
-- the entries before it have other events (before). skew is what is added to the clock,
-- so that it does not go back when it is set, or another server takes over.
local function limiter()
	local log, maxEntries = base .. 'l', 4096
	local now, skew, newest, length, first = 0, 0, nil, 0, 0

	local function pack(e) return cmsgpack.pack(e.at, e.n, e.before, e.span, skew) end

	local function unpack(packed)
		local e = {}
		e.at, e.n, e.before, e.span, e.skew = cmsgpack.unpack(packed)
		return e
	end

	-- search returns the first entry from index i on that is right, and its index, or nil
	-- and the length. All after one that is right are. Most often, it is near i.
	local function search(i, right)
		local found, entry, step = length, nil, 1
		while i < found do
			local probe = math.min(i + step, found) - 1
			if entry then probe = math.floor((i + found - 1) / 2) end
			local e = unpack(call('LINDEX', log, probe))
			if right(e) then
				found, entry = probe, e
			else
				i, step = probe + 1, step * 2
			end
		end
		return entry, found
	end

	-- read reads the clock and the log, and returns how many events are in the window.
	local function read()
		now = clock[1] * 1000000 + clock[2]
		local last = call('LINDEX', log, -1)
		if not last then return 0 end
		newest = unpack(last)
		skew = newest.skew
		now = now + skew
		if now < newest.at then
			skew, now = skew + newest.at - now, newest.at
			call('LSET', log, -1, pack(newest))
		end
		length = call('LLEN', log)
		local oldest
		oldest, first = search(0, function(e) return e.at > now - window end)
		return oldest and newest.before + newest.n - oldest.before or 0
	end

	-- answer returns an answer with the state of the limit, and whatever rest it has. events
	-- are in the window; n were refused.
	local function answer(what, rest, events, n)
		local reset, after = 0, 0
		if events > 0 then reset = window - (now - newest.at) end
		if events > 0 and n > 0 then
			local total = newest.before + newest.n
			local blocker = search(first, function(e) return total - e.before - e.n <= limit - n end) or newest
			after = window - (now - blocker.at)
		end
		return what .. ' ' .. text(math.max(0, limit - events)) .. ' ' .. text(reset) .. ' ' .. text(after) .. ' ' .. rest
	end

	-- expire keeps the log until its last event has left the window, however long this
	-- script takes.
	local function expire() call('PEXPIRE', log, math.ceil(window / 1000) + 1000) end

	-- add adds the publish to the log, and drops what has left the window.
	local function add()
		local granule = limit > maxEntries and math.floor(window / (maxEntries - 2)) + 1 or 0
		local since = first < length and newest.at - newest.span
		if since and (now - since < granule or now == newest.at or length - first == maxEntries) then
			newest.at, newest.n, newest.span = now, newest.n + count, now - since
			call('LSET', log, -1, pack(newest))
		else
			newest = {at = now, n = count, before = since and newest.before + newest.n or 0, span = 0}
			call('RPUSH', log, pack(newest))
		end
		if first > 0 then call('LTRIM', log, first, -1) end
		expire()
	end

	-- refuse refuses the publish. Only a window that has become longer changes the log.
	local function refuse(events)
		if events > 0 and call('PTTL', log) < window / 1000 then expire() end
		return answer('limited', '', events, count)
	end

	return {read = read, add = add, answer = answer, refuse = refuse}
end

local rate = limit and limiter()
local epoch, offset, reserved -- where the app stands, once it is known, and what is noted
local number -- the offset as a text

-- locate reads where the app stands, begins a new epoch if necessary, and notes where the
-- app stands after all publishes. It returns false if there is no epoch to begin. This is
-- the first write, except for a repetition's: with no memory left it is refused, and
-- nothing has happened.
local function locate()
	local at = call('HMGET', KEYS[1], 'e', 'o', 'r', 's')
	local begun, last, marked, place = at[1], at[2] or '0', at[3] or 0, at[4] or 0
	-- A failover or an old snapshot can have lost offsets that were already given.
	local lost = begun == ARGV[3] and last ~= ARGV[4] and tonumber(last) < tonumber(ARGV[4])
	if not begun or lost or (#ARGV[2] > 16 and string.find(ARGV[2], begun, 17, true)) then
		begun, last, marked, place = string.sub(ARGV[2], 1, 16), '0', 0, 0
		if not string.find(begun, '^%w') then return false end
	end
	epoch, offset, number, reserved = begun, tonumber(last), last, last + ARGV[7]
	if clock[1] - marked >= 1800 then
		-- Where the app stood half an hour to an hour ago, see fill.lua.
		call('HSET', KEYS[1], 'e', epoch, 'o', text(reserved), 'p', marked, 'q', place, 'r', clock[1], 's', number)
	else
		call('HSET', KEYS[1], 'e', epoch, 'o', text(reserved))
	end
	return true
end

-- remember keeps what a repetition with the key is answered, for messages from an offset on.
local function remember(key, digest, counts, from)
	local position = epoch .. ' ' .. text(from) .. ' '
	call('SET', base .. 'i:' .. key, digest .. position .. counts, 'PX', lifetime)
	-- Beyond the maximum, the oldest key is forgotten, unless it has expired and was used
	-- again.
	local queue = base .. 'q'
	local keys = call('RPUSH', queue, key .. ' ' .. position)
	call('PEXPIRE', queue, lifetime)
	if keys > maxKeys then
		local name, of = string.match(call('LPOP', queue), '^(%S+) (.*)$')
		local old = base .. 'i:' .. name
		if call('GETRANGE', old, 32, 31 + #of) == of then call('DEL', old) end
	end
end

-- repetition returns the answer of a publish whose key is known, or nil.
local function repetition(key, digest)
	local claim = base .. 'i:' .. key
	local kept = call('GET', claim)
	if not kept then return nil end
	if string.sub(kept, 1, 32) ~= digest then return 'mismatch' end
	-- A write, so that WAIT waits for what is repeated, too.
	call('PEXPIRE', claim, math.max(1, call('PTTL', claim)))
	local record = string.sub(kept, 33)
	return rate and rate.answer('replayed', record, rate.read(), 0) or 'replayed ' .. record
end

local kinds, i = {}, 9
for kind = 1, tonumber(ARGV[8]) do
	kinds[text(kind)] = {
		keep = ARGV[i] ~= '0' and ARGV[i], age = tonumber(ARGV[i + 1]), ttl = ARGV[i + 2],
		offsetTTL = ARGV[i + 3], longest = tonumber(ARGV[i + 3]), skip = ARGV[i + 4] == '1',
	}
	i = i + 5
end

-- What follows runs for each publish and each message. It makes no functions and no
-- tables, because to make one costs as much as a command.
local answers, n = {}, 0
local time, places, streams, head
while i <= #ARGV do
	local key, digest, counts = ARGV[i + 1], nil, nil
	count, i = tonumber(ARGV[i]), i + 2
	local answer
	if key ~= '' then
		digest, counts, i = ARGV[i], ARGV[i + 1], i + 2
		answer = repetition(key, digest)
	end
	local events = not answer and rate and rate.read()
	if events and events + count > limit then answer = rate.refuse(events) end
	local first, last = i, i + 3 * count - 1
	if answer then
		first = last + 1 -- it sends nothing
	else
		if not epoch then
			if not locate() then return {} end
			places, streams, head = base .. 'p:' .. epoch .. ':', base .. 's:' .. epoch .. ':', '\1' .. epoch .. ' '
			time = format(' %s%03d\n', clock[1], clock[2] / 1000)
		end
		local position = epoch .. ' ' .. number
		if rate then
			rate.add()
			answer = rate.answer('published', position, events + count, 0)
		else
			answer = 'published ' .. position
		end
	end
	for m = first, last, 3 do
		local kind, channel, body = kinds[ARGV[m]], ARGV[m + 1], ARGV[m + 2]
		local place, before = places .. channel, nil
		offset = offset + 1
		number = format('%d', offset)
		if kind.skip then
			before = call('GET', place)
		else
			before = call('SET', place, number, 'PX', kind.offsetTTL, 'GET')
		end
		local envelope = head .. number .. ' ' .. (before or '0') .. time .. body
		if kind.keep then
			-- Redis frees memory by nodes of several messages. To cut exactly would free no more,
			-- and search the node for messages that were cut each time; so readers do.
			local stream = streams .. channel
			call('XADD', stream, 'MAXLEN', '~', kind.keep, number, 'm', envelope)
			local left = call('PTTL', stream)
			if left < kind.age then
				call('PEXPIRE', stream, kind.ttl)
			elseif left > kind.longest then
				call('PEXPIRE', place, left) -- it has messages of a rule that kept them longer
			end
		end
		call('SPUBLISH', base .. 'c:' .. channel, envelope)
	end
	-- After all that can fail, for example because another application uses the name of a key:
	-- what failed must not be answered as published when it is repeated.
	if key ~= '' and first <= last then remember(key, digest, counts, offset - count + 1) end
	n, i = n + 1, last + 1
	answers[n] = answer
end
if epoch and offset < reserved then call('HSET', KEYS[1], 'o', number) end
return answers
