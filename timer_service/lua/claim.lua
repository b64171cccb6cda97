-- Claim expired sessions: of all who saw the event of one, one may close it.
--
-- KEYS[1] ts:{shard}:claimed  zset  <business>:<session> -> lease end, ms
-- KEYS[2] ts:{shard}:agenda   zset  business -> the pacer's next look, ms
--
-- ARGV[1] active_prefix  ts:{shard}:active:  the index of a business is this and the business
-- ARGV[2] live_prefix    ts:{shard}:live:    a live key is this, the business, ':', the session
-- ARGV[3] lease_ms       after which an unsettled claim is offered again
-- ARGV[4] business       of the first session; business and session of further ones follow
-- ARGV[5] session
--
-- Indexes and live keys are named from the arguments, so that one call can claim many sessions;
-- all carry the same {shard} tag and lie in the same slot.
--
-- Returns for each session {code}, for a won claim {code, deadline in ms, ms since the deadline}:
--    1 won       the caller's to close; to be settled by arm or forget before the lease ends
--    0 alive     touched in the meantime; the index follows its live key
--   -1 lost      not in the index: somebody else claimed it, or it was forgotten
--   -2 restored  gone before its deadline: deleted or evicted, not expired; set again for the rest
local claimed, agenda = KEYS[1], KEYS[2]
local active_prefix, live_prefix, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function claim(business, session)
  local member = business .. ':' .. session
  local live, active = live_prefix .. member, active_prefix .. business

  if redis.call('EXISTS', live) == 1 then
    -- After TIME, so that the sum never passes the true deadline; see arm.lua.
    local left_ms = redis.call('PTTL', live)
    -- Without a TTL it was overwritten: the pacer takes it when its deadline has passed.
    if left_ms >= 0 then
      redis.call('ZADD', active, now_ms + left_ms, session)
      redis.call('ZADD', agenda, 'LT', now_ms + left_ms, business)
    end
    return {0}
  end

  local deadline_ms = tonumber(redis.call('ZSCORE', active, session))
  if not deadline_ms then
    return {-1}
  end

  if now_ms < deadline_ms then
    -- Version 0 is lower than every real one, so the next arm takes over whatever its version.
    redis.call('SET', live, 0, 'PXAT', deadline_ms)
    redis.call('ZADD', agenda, 'LT', deadline_ms, business)
    return {-2}
  end

  -- Into `claimed` first: a write refused for want of memory must not lose the session.
  redis.call('ZADD', claimed, now_ms + lease_ms, member)
  redis.call('ZREM', active, session)
  if redis.call('EXISTS', active) == 0 then
    redis.call('ZREM', agenda, business)
  end
  return {1, deadline_ms, now_ms - deadline_ms}
end

local answers = {}
local at, business, session = 4, ARGV[4], ARGV[5]
while business do
  answers[#answers + 1] = claim(business, session)
  at = at + 2
  business, session = ARGV[at], ARGV[at + 1]
end
return answers
