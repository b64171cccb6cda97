-- Give a connection's next message its turn: some at once, then one every interval.
--
-- KEYS[1] ts:{send:<connection>}:pace  string → ms since the epoch, with a PX: how far its sends
--                                      are planned
--
-- ARGV[1] interval_ms  between two messages on average, a fraction allowed
-- ARGV[2] burst        how many may go at once after a pause
--
-- A turn is given for good: who lets it pass has slowed the others down, never sent too fast.
--
-- Returns how long to wait for the turn, in ms: 0 for now.
local pace = KEYS[1]
local interval_ms, burst = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Redis 6.2 refuses writes after TIME without this; later servers always replicate effects.
if redis.replicate_commands then
  redis.replicate_commands()
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local planned_ms = math.max(tonumber(redis.call('GET', pace) or 0), now_ms)
local next_ms = planned_ms + interval_ms
redis.call('SET', pace, string.format('%.3f', next_ms), 'PX', math.ceil(next_ms - now_ms))
return math.max(0, math.ceil(planned_ms - now_ms - (burst - 1) * interval_ms))
