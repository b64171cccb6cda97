-- Begin to rebuild a shard: from here on nothing in it is trusted, and its indexes are empty.
--
-- Live keys stay: arm finds them and puts them into the index again.
--
-- KEYS[1] ts:{shard}:epoch    string  building:<token>:<run_id>, or run_id
-- KEYS[2] ts:{shard}:agenda   zset    business -> the pacer's next look, ms
-- KEYS[3] ts:{shard}:claimed  zset    <business>:<session> -> lease end, ms
-- KEYS[4] ts:{shard}:swept    hash    pass -> watermark
--
-- ARGV[1] token          names this rebuild; each of its calls carries it
-- ARGV[2] active_prefix  ts:{shard}:active:  the index of a business is this and the business
--
-- Indexes are named from members of the agenda, which KEYS cannot state beforehand; all carry the
-- same {shard} tag and lie in the same slot.
--
-- Returns how many indexes were dropped.
local epoch, agenda, claimed, swept = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, active_prefix = ARGV[1], ARGV[2]

-- Redis 6.2 refuses writes after INFO without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

-- The run is part of the value: a restart from disk brings the token back, but perhaps not
-- everything that was armed under it.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
redis.call('SET', epoch, 'building:' .. token .. ':' .. run_id)

local businesses = redis.call('ZRANGE', agenda, 0, -1)
for i = 1, #businesses do
  redis.call('UNLINK', active_prefix .. businesses[i])
end
redis.call('UNLINK', agenda, claimed, swept)
return #businesses
