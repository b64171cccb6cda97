-- Pace one shard: make Redis expire what is due, take over what nobody claimed, lend again.
--
-- 1. Touch. `expired` is published when Redis deletes a key, not when its TTL ends, and an access
--    is what makes it delete at once: every member whose deadline has passed is looked at once.
-- 2. Take over. A member gone for longer than the grace time lost its event: it is claimed here.
--    So is one whose live key was overwritten and has no TTL: it would never expire.
-- 3. Lend again. A claim whose lease ended was never settled.
--
-- A member leaves the index only when its live key is gone, never because its time has passed: a
-- script's expiry works with a clock that stands still, TIME may run ahead of it, and a member
-- removed on time alone then waits for Redis's own, slow, cycle.
--
-- The agenda says when a business is next to be looked at. It is never later than the earliest
-- member not yet touched: arm lowers it, only this script raises it. So what was touched and is
-- not yet claimed never stands in the way of what follows.
--
-- KEYS[1] ts:{shard}:agenda   zset    business -> the pacer's next look, ms
-- KEYS[2] ts:{shard}:claimed  zset    <business>:<session> -> lease end, ms
-- KEYS[3] ts:{shard}:epoch    string  building:<token>:<run_id>, or run_id
--
-- ARGV[1] active_prefix  ts:{shard}:active:  the index of a business is this and the business
-- ARGV[2] live_prefix    ts:{shard}:live:    a live key is this, the business, ':', the session
-- ARGV[3] grace_ms       how long an expired event has to be claimed; 0 where events are off
-- ARGV[4] lease_ms       after which an unsettled claim is offered again
-- ARGV[5] limit          members to look at in this call, and leases to lend again
--
-- Indexes and live keys are named from members of the agenda, which KEYS cannot state beforehand;
-- all carry the same {shard} tag and lie in the same slot.
--
-- Returns {trusted, now_us, wake_at_ms, touched, taken_over, member, member, …}
--   trusted     1 where the epoch is this server's run_id, else 0
--   now_us      in microseconds: the caller sleeps by the difference
--   wake_at_ms  when there is something to do again, the present where there is more already; -1: idle
--   touched     members looked at
--   taken_over  how many of the members are claimed for the first time; the others are lent again
--   member      <business>:<session>, the caller's to close
local agenda, claimed, epoch = KEYS[1], KEYS[2], KEYS[3]
local active_prefix, live_prefix = ARGV[1], ARGV[2]
local grace_ms, lease_ms, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end

local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local trusted = (run_id and redis.call('GET', epoch) == run_id) and 1 or 0

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
-- Expiry is strictly later than the deadline: what falls due in this very millisecond waits.
local overdue_before_ms = now_ms - grace_ms

local seen, members = 0, {}

-- Look at a member whose deadline has passed. Returns true where it ends in this very millisecond
-- and must be looked at again in the next one.
local function look_at(business, active, session, deadline_ms)
  local live = live_prefix .. business .. ':' .. session
  seen = seen + 1
  if redis.call('EXISTS', live) == 1 then
    -- After TIME, so that the sum never passes the true deadline; see arm.lua.
    local left_ms = redis.call('PTTL', live)
    if left_ms > 1 then
      redis.call('ZADD', active, now_ms + left_ms, session)
      return false
    end
    if left_ms >= 0 then
      return true
    end
    redis.call('DEL', live)
  elseif deadline_ms >= overdue_before_ms then
    return false
  end
  local member = business .. ':' .. session
  -- Into `claimed` first: a write refused for want of memory must not lose the session.
  redis.call('ZADD', claimed, now_ms + lease_ms, member)
  redis.call('ZREM', active, session)
  members[#members + 1] = member
  return false
end

-- Look at what is due of one business, as far as the limit allows, and put it on the agenda again.
local function visit(business, untouched_from_ms)
  local active = active_prefix .. business
  local next_ms = math.huge
  local function come_back(at_ms)
    next_ms = math.min(next_ms, at_ms)
  end
  local function look_through(page)
    for i = 1, #page, 2 do
      local deadline_ms = tonumber(page[i + 1])
      if look_at(business, active, page[i], deadline_ms) then
        come_back(deadline_ms)
      end
    end
  end

  -- Past the grace time nothing stays where it is, so this page always begins anew.
  look_through(redis.call(
    'ZRANGE', active, '-inf', '(' .. overdue_before_ms, 'BYSCORE',
    'LIMIT', 0, limit - seen, 'WITHSCORES'))

  -- Within it, gone members wait for their claim: look only at those not looked at before.
  local from_ms = math.max(untouched_from_ms, overdue_before_ms)
  local room = limit - seen
  if room <= 0 then
    come_back(from_ms)
  else
    local page = redis.call(
      'ZRANGE', active, from_ms, '(' .. now_ms, 'BYSCORE', 'LIMIT', 0, room, 'WITHSCORES')
    if #page == 2 * room then
      -- The page ends where a millisecond ends, so that the next can begin at a score.
      local last, same = page[#page], 0
      while page[#page - 2 * same] == last do
        same = same + 1
      end
      local rest = redis.call(
        'ZRANGE', active, last, last, 'BYSCORE', 'LIMIT', same, -1, 'WITHSCORES')
      for i = 1, #rest do
        page[#page + 1] = rest[i]
      end
      come_back(tonumber(last) + 1)
    end
    look_through(page)
  end

  local head = redis.call('ZRANGE', active, 0, 0, 'WITHSCORES')
  if not head[1] then
    redis.call('ZREM', agenda, business)
    return
  end
  if tonumber(head[2]) < now_ms then
    come_back(math.max(tonumber(head[2]) + grace_ms, now_ms))
  end
  local coming = redis.call(
    'ZRANGE', active, now_ms, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if coming[2] then
    come_back(tonumber(coming[2]))
  end
  redis.call('ZADD', agenda, next_ms, business)
end

local due = redis.call(
  'ZRANGE', agenda, '-inf', '(' .. now_ms, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
for i = 1, #due, 2 do
  if seen >= limit then
    break
  end
  visit(due[i], tonumber(due[i + 1]))
end
local taken_over = #members

local ended = redis.call(
  'ZRANGE', claimed, '-inf', now_ms, 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #ended do
  redis.call('ZADD', claimed, now_ms + lease_ms, ended[i])
  members[#members + 1] = ended[i]
end

local wake_at_ms = -1
local first_look = redis.call('ZRANGE', agenda, 0, 0, 'WITHSCORES')
if first_look[2] then
  wake_at_ms = math.max(tonumber(first_look[2]) + 1, now_ms)
end
local first_lease = redis.call('ZRANGE', claimed, 0, 0, 'WITHSCORES')
if first_lease[2] and (wake_at_ms < 0 or tonumber(first_lease[2]) < wake_at_ms) then
  wake_at_ms = math.max(tonumber(first_lease[2]), now_ms)
end

local answer = {trusted, time[1] * 1000000 + time[2], wake_at_ms, seen, taken_over}
for i = 1, #members do
  answer[#answer + 1] = members[i]
end
return answer
