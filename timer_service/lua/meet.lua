-- Show that a listener is alive, and learn who else is. For advice only: who is wrongly missing or
-- wrongly listed does no harm.
--
-- KEYS[1] ts:listeners  zset  listener -> its last beat, ms
--
-- ARGV[1] listener  the caller
-- ARGV[2] alive_ms  who has not shown itself for so long is left out, and removed
--
-- Returns the listeners that are alive, the caller among them.
local listeners = KEYS[1]
local listener, alive_ms = ARGV[1], tonumber(ARGV[2])

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', listeners, now_ms, listener)
redis.call('ZREMRANGEBYSCORE', listeners, '-inf', '(' .. (now_ms - alive_ms))
return redis.call('ZRANGE', listeners, 0, -1)
