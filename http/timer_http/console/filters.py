"""How templates write times, numbers, sizes and phone numbers. Called from templates only."""

from __future__ import annotations

from datetime import datetime, timedelta

import phonenumbers
from markupsafe import Markup

from timer_http.console import i18n
from timer_http.console.i18n import gettext
from timer_service.clock import utc_now

_RELATIVE_UNTIL = timedelta(hours=22)
_BYTES_PER_KB = 1000
_BYTES_PER_MB = 1_000_000
_MS_PER_S = 1000


def exact(value: datetime) -> str:
    """Write day and time to the second."""
    return i18n.format_exact(value)


def relative(value: datetime) -> str:
    """Write how long ago; from a day on, the date."""
    elapsed = utc_now() - value
    if elapsed < timedelta(minutes=1):
        return gettext("just now")
    if elapsed < _RELATIVE_UNTIL:
        return i18n.format_ago(elapsed)
    return i18n.format_day(value, length="medium")


def clock_time(value: datetime) -> str:
    """Write hours and minutes."""
    return i18n.format_clock_time(value)


def day(value: datetime) -> str:
    """Write the day in full."""
    return i18n.format_day(value)


def short_day(value: datetime) -> str:
    """Write the day and the month."""
    return i18n.format_day(value, length="d MMM")


def length_s(value: int) -> str:
    """Write a length of time in its largest fitting unit: ``12 minutes``."""
    return i18n.format_duration(timedelta(seconds=value))


def number(value: float) -> str:
    """Write a number with the language's separators."""
    return i18n.format_number(value)


def milliseconds(value: datetime) -> int:
    """Return an instant as Unix milliseconds, for the script that counts down."""
    return round(value.timestamp() * _MS_PER_S)


def duration_ms(value: int) -> str:
    """Write a lateness: milliseconds while they say more than the seconds do."""
    if abs(value) < 10 * _MS_PER_S:
        return gettext("%(count)s ms", count=i18n.format_number(value))
    return i18n.format_duration(timedelta(milliseconds=value))


def duration_s(value: int) -> str:
    """Write a configured length of time exactly: ``15 minutes``, ``1 hour 30 minutes``."""
    parts = []
    for unit, unit_s in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        count, value = divmod(value, unit_s)
        if count:
            parts.append(i18n.format_unit(count, unit))
    return " ".join(parts)


def phone(wa_id: str) -> str:
    """Write ``972500000001`` as ``+972 50-000-0001``; ids that are no numbers stay as they are."""
    if not wa_id.isdecimal():
        return wa_id
    try:
        parsed = phonenumbers.parse(f"+{wa_id}")
    except phonenumbers.NumberParseException:
        return f"+{wa_id}"
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def isolated(text: str) -> Markup:
    """Keep a name, a number or code from reordering the words around it."""
    return Markup("<bdi>{}</bdi>").format(text)


def size(size_bytes: int) -> str:
    """Write a file's size."""
    if size_bytes < _BYTES_PER_MB:
        return gettext("%(count)s kB", count=i18n.format_number(-(-size_bytes // _BYTES_PER_KB)))
    return gettext("%(count)s MB", count=i18n.format_number(round(size_bytes / _BYTES_PER_MB, 1)))
