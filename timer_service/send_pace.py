"""Keeps each connection's pace: who may send now, and who waits how long. The Redis edge of it."""

from __future__ import annotations

from timer_service.ids import ConnectionId
from timer_service.keys import pace_key
from timer_service.lua_scripts import TAKE_TURN, Call, run_calls
from timer_service.providers.sending import Pace
from timer_service.redis_clients import LiveRedis


class SendPace:
    """Gives turns."""

    def __init__(self, client: LiveRedis) -> None:
        self._client = client

    def take_turn(self, connection_id: ConnectionId, pace: Pace) -> float:
        """Take the connection's next turn; return the seconds to wait for it.

        Raises:
            RedisUnavailable: nobody knows how much was sent; wait.
        """
        call = Call(TAKE_TURN, [pace_key(connection_id)], [1000 / pace.per_s, pace.burst])
        (wait_ms,) = run_calls(self._client, [call])
        return int(wait_ms) / 1000
