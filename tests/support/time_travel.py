"""Lets time pass for Postgres and for Redis alike, as it does; nobody waits."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.builders import World
from tests.support.live_sessions import SHARD
from timer_service import keys

_PASS = """
local ms = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', 'ts:*')) do
  local kind = redis.call('TYPE', key)['ok']
  if kind == 'zset' then
    local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do
      redis.call('ZADD', key, tonumber(all[i + 1]) - ms, all[i])
    end
  elseif string.find(key, ':live:', 1, true) then
    local left_ms = redis.call('PTTL', key)
    if left_ms > ms then
      redis.call('PEXPIRE', key, left_ms - ms)
    elseif left_ms >= 0 then
      redis.call('DEL', key)
    end
  end
end
"""


def pass_time(world: World, seconds: float) -> None:
    """Make everything stored that much older; what ends meanwhile ends without an event."""
    world.let_pass(seconds)
    world.run("UPDATE duties SET ends_at = ends_at - make_interval(secs => :s)", s=seconds)
    world.redis.eval(_PASS, 0, round(seconds * 1000))
    swept = keys.swept_key(SHARD)
    for name, at in world.redis.hgetall(swept).items():
        earlier = datetime.fromisoformat(at) - timedelta(seconds=seconds)
        world.redis.hset(swept, name, earlier.isoformat())
