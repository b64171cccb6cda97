"""The error family. Every error says whether trying again later can help.

Messages name what was expected, what was found and what to check, with ids only: never a phone
number, a message's text, a token or a vendor's response body.
"""

from __future__ import annotations


class ConfigurationError(Exception):
    """A setting is missing or wrong. Outside the family: nothing may swallow it and carry on."""


class TimerServiceError(Exception):
    """Base of everything the service raises on purpose."""

    retryable: bool = False


class InvalidInput(TimerServiceError):
    """A caller's value breaks a rule stated in the interface; ``field`` names it where known."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(TimerServiceError):
    """The id does not exist within the caller's business."""


class Conflict(TimerServiceError):
    """The change collides with a row that exists already."""


class TooManyTries(TimerServiceError):
    """Somebody guesses; another try is read after ``retry_after_s`` seconds."""

    retryable = True

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many tries: the next one is read in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class MalformedPayload(TimerServiceError):
    """A webhook body that cannot be parsed at all (not JSON, or not an object or list)."""


class DatabaseUnavailable(TimerServiceError):
    """Postgres cannot be reached, or did not answer within the time allowed."""

    retryable = True


class DatabaseBusy(DatabaseUnavailable):
    """Postgres answers others: this process has more to ask of it than it can at one time."""


class RedisUnavailable(TimerServiceError):
    """Redis cannot be reached, or did not answer within the time allowed."""

    retryable = True


class GatewayFailed(TimerServiceError):
    """A gateway did not do what it was asked; ``reason`` is a ``messages.StatusReason``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class GatewaysBusy(TimerServiceError):
    """As many gateways are being asked as may be at one time."""

    retryable = True


class SummaryError(TimerServiceError):
    """A summarizer could not summarise. ``code`` is stored with the session."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class SummaryTemporarilyFailed(SummaryError):
    """The model was slow, busy or wrong this time; another try may work."""

    retryable = True


class SummaryRefused(SummaryError):
    """The model or its settings will not do it, however often it is asked."""
