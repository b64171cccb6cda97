-- Forget a session: nothing of it stays. For sessions that are closed or gone, which is final.
--
-- KEYS[1] ts:{shard}:live:<business>:<session>  string  version, PX until the deadline
-- KEYS[2] ts:{shard}:active:<business>          zset    session -> deadline, ms
-- KEYS[3] ts:{shard}:claimed                    zset    <business>:<session> -> lease end, ms
-- KEYS[4] ts:{shard}:agenda                     zset    business -> the pacer's next look, ms
--
-- ARGV[1] business
-- ARGV[2] session
--
-- Returns how many of live key, index entry and claim were there: 0 to 3.
local live, active, claimed, agenda = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local business, session = ARGV[1], ARGV[2]

local removed = redis.call('DEL', live)
  + redis.call('ZREM', active, session)
  + redis.call('ZREM', claimed, business .. ':' .. session)
if redis.call('EXISTS', active) == 0 then
  redis.call('ZREM', agenda, business)
end
return removed
