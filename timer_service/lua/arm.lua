-- Arm sessions: the live key of each ends, and its index entry falls due, at the same millisecond.
--
-- Touch, re-arm, rebuild and audit all come through here. A version never overwrites a higher one,
-- so late and repeated calls are harmless.
--
-- KEYS[1] ts:{shard}:claimed  zset    <business>:<session> -> lease end, ms
-- KEYS[2] ts:{shard}:agenda   zset    business -> the pacer's next look, ms
-- KEYS[3] ts:{shard}:epoch    string  building:<token>:<run_id>, or run_id
--
-- ARGV[1] active_prefix  ts:{shard}:active:  the index of a business is this and the business
-- ARGV[2] live_prefix    ts:{shard}:live:    a live key is this, the business, ':', the session
-- ARGV[3] token          of the rebuild this call is part of; '' where it is part of none
-- ARGV[4] at_ms          by this server's clock, from when on the remaining_ms count; '': from now
-- ARGV[5] business       of the first session; these four of further ones follow
-- ARGV[6] session
-- ARGV[7] version        of the session's row
-- ARGV[8] remaining_ms   until the deadline, 1 or more; may have a fraction
--
-- Indexes and live keys are named from the arguments, so that one call can arm many sessions; all
-- carry the same {shard} tag and lie in the same slot.
--
-- Returns for each session
--    1 armed     the key and the index hold it until the deadline
--    3 anew      the same, though a version above 1 says that it was armed before and nothing of it
--                was here: Redis lost it, or it was closed meanwhile; ask before it is counted
--    2 repaired  this version was armed already; the index follows its live key again
--    0 stale     a higher version is armed; nothing was done
--   -1 fenced    another rebuild has begun, or everything was lost; nothing was done
local claimed, agenda, epoch = KEYS[1], KEYS[2], KEYS[3]
local active_prefix, live_prefix, token, at_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

local is_fenced = false
if token ~= '' then
  local building = 'building:' .. token .. ':'
  local found = redis.call('GET', epoch) or ''
  is_fenced = string.sub(found, 1, #building) ~= building
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
at_ms = at_ms or time[1] * 1000 + time[2] / 1000

local function arm(business, session, version, remaining_ms)
  if is_fenced then
    return -1
  end
  local member = business .. ':' .. session
  local live, active = live_prefix .. member, active_prefix .. business

  -- A value of another type is an overwritten one, not an error.
  local armed = redis.pcall('GET', live)
  if armed ~= false then
    local armed_version = type(armed) == 'string' and tonumber(armed)
    -- TIME before PTTL: where a script's clock runs on (Redis 7.0), the sum may then fall short of
    -- the true deadline but never pass it, and passing it would make the claim take it for a
    -- deleted key.
    local left_ms = redis.call('PTTL', live)
    if armed_version and left_ms >= 0 then
      if armed_version > version then
        return 0
      end
      if armed_version == version then
        redis.call('ZADD', active, now_ms + left_ms, session)
        redis.call('ZADD', agenda, 'LT', now_ms + left_ms, business)
        redis.call('ZREM', claimed, member)
        return 2
      end
    end
  end

  local was_lost = armed == false and version > 1 and not redis.call('ZSCORE', active, session)
    and not redis.call('ZSCORE', claimed, member)
  -- A key ends when the millisecond of its deadline is over, so rounding down is never early.
  local deadline_ms = math.max(math.floor(at_ms + remaining_ms), now_ms + 1)
  redis.call('SET', live, version, 'PXAT', deadline_ms)
  redis.call('ZADD', active, deadline_ms, session)
  redis.call('ZADD', agenda, 'LT', deadline_ms, business)
  redis.call('ZREM', claimed, member)
  return was_lost and 3 or 1
end

local answers = {}
local at, business, session, version, remaining_ms = 5, ARGV[5], ARGV[6], ARGV[7], ARGV[8]
while business do
  answers[#answers + 1] = arm(business, session, tonumber(version), tonumber(remaining_ms))
  at = at + 4
  business, session, version, remaining_ms = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
end
return answers
