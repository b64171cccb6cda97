"""Which language, script direction and time zone a page is written in.

The only module that knows Flask-Babel. English is the source; the catalogues in `translations/`
hold the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import flask_babel  # type: ignore[import-untyped]
from babel import Locale, UnknownLocaleError, units
from flask import Flask, g, request, session
from flask_babel import gettext as _gettext

LANGUAGES = {"en": "English", "he": "עברית", "id": "Bahasa Indonesia"}
"""Code and own name of each language there is."""

TRANSLATIONS = Path(__file__).resolve().parent.parent / "translations"

_CHOSEN = "language"
_SHOWN = "language_shown"


def init_babel(app: Flask) -> None:
    """Give ``app`` its translations."""
    flask_babel.Babel(
        app,
        default_translation_directories=str(TRANSLATIONS),
        locale_selector=_select_locale,
        timezone_selector=_select_timezone,
    )


def gettext(message: str, **values: Any) -> str:
    """Translate ``message``, then fill in its ``%(name)s``."""
    return str(_gettext(message, **values))


def remember_choice() -> None:
    """Keep the language named by ``?lang=`` for this browser; an unknown one is ignored."""
    wanted = request.args.get("lang")
    if wanted in LANGUAGES and session.get(_CHOSEN) != wanted:
        session[_CHOSEN] = wanted


def speak_for(locale: str, timezone: str) -> None:
    """From here on write in a business's language and time zone, unless the reader chose one."""
    g.business_locale, g.business_timezone = locale, timezone
    flask_babel.refresh()
    shown = shown_locale().language
    # With Postgres away there is no business to ask, and the page must not change its language.
    if session.get(_SHOWN) != shown:
        session[_SHOWN] = shown


@contextmanager
def language_kept() -> Iterator[None]:
    """Keep the reader's language over a block that empties the cookie."""
    kept = {name: session[name] for name in (_CHOSEN, _SHOWN) if name in session}
    yield
    session.update(kept)


def shown_locale() -> Locale:
    """Return the locale of this page."""
    return flask_babel.get_locale() or Locale("en")


def _select_locale() -> Locale:
    business = _read_locale(g.get("business_locale"))
    chosen = session.get(_CHOSEN)
    if chosen is None and business is not None:
        return business
    if business is not None and business.language == chosen:
        return business  # it may name a country too, which settles how dates are written
    for code in (chosen, session.get(_SHOWN)):
        if code in LANGUAGES:
            return Locale(code)
    return Locale(request.accept_languages.best_match(LANGUAGES) or "en")


def _select_timezone() -> str | None:
    timezone: str | None = g.get("business_timezone")
    return timezone


def _read_locale(text: str | None) -> Locale | None:
    """Read ``he``, ``he-IL`` or ``he_IL``; None for a language there is no catalogue of."""
    try:
        locale = Locale.parse((text or "").replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        return None
    return locale if locale.language in LANGUAGES else None


def format_exact(value: datetime) -> str:
    """Write day and time to the second, in the business's time zone."""
    return str(flask_babel.format_datetime(value, "medium"))


def format_clock_time(value: datetime) -> str:
    """Write hours and minutes, in the business's time zone."""
    return str(flask_babel.format_time(value, "short"))


def format_day(value: datetime, *, length: str = "long") -> str:
    """Write the day, in the business's time zone."""
    return str(flask_babel.format_date(value, length))


def format_ago(elapsed: timedelta) -> str:
    """Write how long ago, to the minute."""
    return str(flask_babel.format_timedelta(-elapsed, granularity="minute", add_direction=True))


def format_duration(length: timedelta) -> str:
    """Write a length of time in its largest fitting unit."""
    return str(flask_babel.format_timedelta(length))


def format_number(value: float) -> str:
    """Write a number with the language's separators."""
    return str(flask_babel.format_decimal(value))


def format_unit(count: int, unit: str) -> str:
    """Write a count of a unit of time; ``unit`` is ``second``, ``minute``, ``hour`` or ``day``."""
    return str(units.format_unit(count, f"duration-{unit}", locale=shown_locale()))
