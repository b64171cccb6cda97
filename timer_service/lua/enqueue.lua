-- Put jobs into a queue as RQ does: all their hashes, then their ids, or nothing at all.
--
-- KEYS[1] rq:queues        set   keys of all queues
-- KEYS[2] rq:queue:<name>  list  ids of the jobs that wait
--
-- ARGV[1] job_prefix  rq:job:  a job's hash is this and its id
-- ARGV[2] fields      what all their hashes hold: a JSON list of name, value, name, value, …
-- ARGV[3] job_id      of the first job, which also describes it; both of further ones follow
-- ARGV[4] data        what to call and with what, in RQ's own packing
--
-- Hashes are named from the arguments, so that one call can enqueue many jobs; RQ itself does not
-- keep a queue and its jobs in one slot of a cluster.
--
-- Returns how many were put into the queue.
local queues, queue = KEYS[1], KEYS[2]
local job_prefix, fields = ARGV[1], cjson.decode(ARGV[2])

local own = #fields
fields[own + 1], fields[own + 3] = 'data', 'description'
local at, job_id, data = 3, ARGV[3], ARGV[4]
redis.call('SADD', queues, queue)
while job_id do
  fields[own + 2], fields[own + 4] = data, job_id
  redis.call('HSET', job_prefix .. job_id, unpack(fields))
  redis.call('PERSIST', job_prefix .. job_id)
  redis.call('RPUSH', queue, job_id)
  at = at + 2
  job_id, data = ARGV[at], ARGV[at + 1]
end
return (at - 3) / 2
