-- Arm a session: its live key ends, and its index entry falls due, at the same millisecond.
--
-- Touch, re-arm, rebuild and audit all come through here. A version never overwrites a higher one,
-- so late and repeated calls are harmless.
--
-- KEYS[1] ts:{shard}:live:<business>:<session>  string  version, PX until the deadline
-- KEYS[2] ts:{shard}:active:<business>          zset    session -> deadline, ms
-- KEYS[3] ts:{shard}:claimed                    zset    <business>:<session> -> lease end, ms
-- KEYS[4] ts:{shard}:agenda                     zset    business -> the pacer's next look, ms
-- KEYS[5] ts:{shard}:epoch                      string  building:<token>:<run_id>, or run_id
--
-- ARGV[1] business
-- ARGV[2] session
-- ARGV[3] version       of the session's row
-- ARGV[4] remaining_ms  until the deadline, 1 or more
-- ARGV[5] token         of the rebuild this call is part of; '' where it is part of none
--
-- Returns
--    1 armed     the key and the index hold it until the deadline
--    3 anew      the same, though a version above 1 says that it was armed before and nothing of it
--                was here: Redis lost it, or it was closed meanwhile; ask before it is counted
--    2 repaired  this version was armed already; the index follows its live key again
--    0 stale     a higher version is armed; nothing was done
--   -1 fenced    another rebuild has begun, or everything was lost; nothing was done
local live, active, claimed, agenda, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local business, session = ARGV[1], ARGV[2]
local version, remaining_ms, token = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

if token ~= '' then
  local building = 'building:' .. token .. ':'
  local found = redis.call('GET', epoch) or ''
  if string.sub(found, 1, #building) ~= building then
    return -1
  end
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- A value of another type is an overwritten one, not an error.
local armed = redis.pcall('GET', live)
local armed_version = type(armed) == 'string' and tonumber(armed)
-- TIME before PTTL: where a script's clock runs on (Redis 7.0), the sum may then fall short of the
-- true deadline but never pass it, and passing it would make the claim take it for a deleted key.
local left_ms = redis.call('PTTL', live)

if armed_version and left_ms >= 0 then
  if armed_version > version then
    return 0
  end
  if armed_version == version then
    redis.call('ZADD', active, now_ms + left_ms, session)
    redis.call('ZADD', agenda, 'LT', now_ms + left_ms, business)
    redis.call('ZREM', claimed, business .. ':' .. session)
    return 2
  end
end

local was_lost = armed == false and version > 1 and not redis.call('ZSCORE', active, session)
  and not redis.call('ZSCORE', claimed, business .. ':' .. session)
local deadline_ms = now_ms + remaining_ms
redis.call('SET', live, version, 'PXAT', deadline_ms)
redis.call('ZADD', active, deadline_ms, session)
redis.call('ZADD', agenda, 'LT', deadline_ms, business)
redis.call('ZREM', claimed, business .. ':' .. session)
return was_lost and 3 or 1
