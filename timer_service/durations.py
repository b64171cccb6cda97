"""Reads durations as people type them."""

from __future__ import annotations

import re

from timer_service.errors import InvalidInput

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PART = re.compile(r"(\d+)\s*([smhd])")


def parse_duration_s(text: str) -> int:
    """Read ``90``, ``90s``, ``15m``, ``1h30m`` or ``2d`` as whole seconds.

    Raises:
        InvalidInput: none of these.
    """
    cleaned = text.strip().lower()
    if cleaned.isdecimal() and cleaned.isascii():
        return int(cleaned)
    parts = _PART.findall(cleaned)
    if not parts or _PART.sub("", cleaned).strip():
        raise InvalidInput(f"{text!r} is no duration: expected one like 90s, 15m, 1h30m or 2d")
    return sum(int(number) * _UNITS_S[unit] for number, unit in parts)
