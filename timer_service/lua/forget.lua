-- Forget sessions: nothing of them stays. For those that are closed or gone, which is final.
--
-- KEYS[1] ts:{shard}:claimed  zset  <business>:<session> -> lease end, ms
-- KEYS[2] ts:{shard}:agenda   zset  business -> the pacer's next look, ms
--
-- ARGV[1] active_prefix  ts:{shard}:active:  the index of a business is this and the business
-- ARGV[2] live_prefix    ts:{shard}:live:    a live key is this, the business, ':', the session
-- ARGV[3] business       of the first session; business and session of further ones follow
-- ARGV[4] session
--
-- Indexes and live keys are named from the arguments, so that one call can forget many sessions;
-- all carry the same {shard} tag and lie in the same slot.
--
-- Returns for each session how many of live key, index entry and claim were there: 0 to 3.
local claimed, agenda = KEYS[1], KEYS[2]
local active_prefix, live_prefix = ARGV[1], ARGV[2]

local answers = {}
local at, business, session = 3, ARGV[3], ARGV[4]
while business do
  local member, active = business .. ':' .. session, active_prefix .. business
  local in_index = redis.call('ZREM', active, session)
  answers[#answers + 1] = redis.call('DEL', live_prefix .. member)
    + in_index
    + redis.call('ZREM', claimed, member)
  if in_index == 1 and redis.call('EXISTS', active) == 0 then
    redis.call('ZREM', agenda, business)
  end
  at = at + 2
  business, session = ARGV[at], ARGV[at + 1]
end
return answers
