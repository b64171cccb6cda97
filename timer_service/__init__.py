"""Knows, to the millisecond and exactly once, when a WhatsApp conversation is over.

A backend that wants the service in-process calls ``connect``; everything else is a command or HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timer_service.service import TimerService

__all__ = ["connect"]


def connect(**settings: Any) -> TimerService:
    """Return the service for use within this process; safe to share between threads.

    Settings come from the environment (``TIMER_DATABASE_URL``, ``TIMER_REDIS_URL``, …) unless given
    by name: ``connect(database_url="postgresql://…", redis_url="redis://…/0")``. Opens no
    connection before the first call.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    # Imported here so that `import timer_service` costs nothing to those who need only a part.
    from timer_service.settings import load_settings  # noqa: PLC0415
    from timer_service.wiring import build_service  # noqa: PLC0415

    return build_service(load_settings(**settings))
