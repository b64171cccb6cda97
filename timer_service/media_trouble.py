"""Why a file cannot be had, or kept, now. Pure; the HTTP layer gives each reason its status."""

from __future__ import annotations

from enum import StrEnum

from timer_service.errors import TimerServiceError


class Reason(StrEnum):
    """In one word for all gateways."""

    GONE = "gone"
    TOO_LARGE = "too_large"
    GATEWAY_FAILED = "gateway_failed"
    GATEWAY_SLOW = "gateway_slow"
    GATEWAY_AWAY = "gateway_away"
    NOT_CONNECTED = "not_connected"
    NOT_YET = "not_yet"
    NO_ROOM = "no_room"
    NOT_TAKEN = "not_taken"
    SWITCHED_OFF = "switched_off"


_RETRYABLE = frozenset({Reason.GATEWAY_SLOW, Reason.GATEWAY_AWAY, Reason.NOT_YET, Reason.NO_ROOM})


class MediaTrouble(TimerServiceError):
    """A file that cannot be had. ``retry_after_s`` is a guess, or what the gateway asks for."""

    def __init__(self, reason: Reason, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = reason in _RETRYABLE
        self.retry_after_s = retry_after_s
