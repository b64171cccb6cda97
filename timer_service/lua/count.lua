-- Count a business's active sessions, and list the newest: those whose deadline is still to come.
--
-- Writes nothing. O(1) while nothing is overdue, else O(log n).
--
-- KEYS[1] ts:{shard}:active:<business>  zset    session -> deadline, ms
-- KEYS[2] ts:{shard}:epoch              string  building:<token>:<run_id>, or run_id
--
-- ARGV[1] limit  sessions to list, newest deadline first; 0 to count only
--
-- Returns {count, session, deadline in ms, session, deadline in ms, …}, or {code}:
--   -1 untrusted  the shard is being rebuilt, or must be: the number has to come from Postgres
local active, epoch = KEYS[1], KEYS[2]
local limit = tonumber(ARGV[1])

-- The server itself says which run this is: an epoch loaded from disk, or a replica's, is not it.
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if not run_id or redis.call('GET', epoch) ~= run_id then
  return {-1}
end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local count
local head = redis.call('ZRANGE', active, 0, 0, 'WITHSCORES')
if head[2] and tonumber(head[2]) <= now_ms then
  count = redis.call('ZCOUNT', active, '(' .. now_ms, '+inf')
else
  count = redis.call('ZCARD', active)
end

local answer = {count}
if limit > 0 then
  local page = redis.call(
    'ZRANGE', active, '+inf', '(' .. now_ms, 'BYSCORE', 'REV', 'LIMIT', 0, limit, 'WITHSCORES')
  for i = 1, #page, 2 do
    answer[i + 1] = page[i]
    answer[i + 2] = tonumber(page[i + 1])
  end
end
return answer
