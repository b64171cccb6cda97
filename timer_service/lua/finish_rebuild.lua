-- Finish a rebuild: trust the shard, unless another rebuild has begun or the server restarted.
--
-- KEYS[1] ts:{shard}:epoch  string  building:<token>:<run_id>, or run_id
--
-- ARGV[1] token  the rebuild that is done
--
-- Returns
--    1 finished    the epoch is the server's run_id
--    0 superseded  the rebuild was in vain; nothing was done
local epoch, token = KEYS[1], ARGV[1]

-- Redis 6.2 refuses writes after INFO without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('GET', epoch) ~= 'building:' .. token .. ':' .. run_id then
  return 0
end
redis.call('SET', epoch, run_id)
return 1
