"""Fits the console into the Flask app: languages, and what every template may use."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Flask, g, request
from markupsafe import Markup

from timer_http.console import filters, i18n, words
from timer_http.console.navigation import places_above, places_in
from timer_http.console.pages import blueprint
from timer_service.clock import epoch_s
from timer_service.messages import Role


def init_app(app: Flask) -> None:
    """Set up translations for ``app``; call once, beside registering ``blueprint``."""
    i18n.init_babel(app)


def _language_address(code: str) -> str:
    """Return this page's address with another language asked for."""
    arguments = request.args.to_dict() | {"lang": code}
    return f"?{urlencode(arguments)}"


for template_filter in (
    filters.exact,
    filters.relative,
    filters.clock_time,
    filters.day,
    filters.short_day,
    filters.length_s,
    filters.number,
    filters.phone,
    filters.size,
    filters.milliseconds,
    filters.duration_ms,
    filters.duration_s,
    words.connection_state,
    words.connection_shape,
    words.status_reason,
    words.session_state,
    words.author,
    words.delivery,
    words.delivery_ticks,
    words.message_type,
    words.provider,
    words.summary_skipped,
    words.member_role,
    words.role_reach,
    words.secret,
    words.secret_use,
    words.external_id,
    words.external_id_help,
    words.touch_rule,
    words.summarizer,
    words.event,
    words.event_detail,
    words.actor,
):
    blueprint.add_app_template_filter(template_filter)


@blueprint.before_request
def remember_language() -> None:
    """Keep the language asked for with ``?lang=``."""
    i18n.remember_choice()


@blueprint.context_processor
def page_values() -> dict[str, Any]:
    """Give every template the language it speaks, who reads it, and the time it was made."""
    locale = i18n.shown_locale()
    caller = g.get("caller")
    return {
        "language_tag": str(locale).replace("_", "-"),
        "direction": locale.text_direction,
        "languages": i18n.LANGUAGES,
        "is_admin": caller is not None and caller.role is Role.ADMIN,
        "caller": caller,
        "business": g.get("business"),
        "reading_person": g.get("person"),
        "server_time_ms": round(epoch_s() * 1000),
        "markup": Markup,
        "isolated": filters.isolated,
        "language_address": _language_address,
        "places_in": places_in,
        "places_above": places_above,
    }
