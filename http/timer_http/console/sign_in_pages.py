"""The way in and out: the start page, signing in with a key, signing out."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import caller_from_request, require, sign_in, sign_out
from timer_http.console.access import require_caller
from timer_http.console.i18n import gettext, language_kept
from timer_http.console.pages import blueprint
from timer_service.access import Caller
from timer_service.messages import Role

_LONGEST_KEY = 200


@blueprint.get("/")
@require(Role.VIEWER)
def home() -> Response:
    """Lead to the reader's business, or to all of them."""
    return redirect(_home_of(require_caller()), 303)


@blueprint.get("/sign-in")
def show_sign_in() -> str | Response:
    """Ask for a key; who has signed in already goes on."""
    caller = caller_from_request()
    return render_template("console/sign_in.html") if caller is None else _go_on(caller)


@blueprint.post("/sign-in")
def accept_sign_in() -> Response | tuple[str, int]:
    """Take a key. What was typed is never shown again: it is a secret."""
    key = request.form.get("key", "").strip()
    if not key:
        problem = gettext("Paste a key first.")
    else:
        with language_kept():
            caller = sign_in(key) if len(key) <= _LONGEST_KEY else None
        if caller is not None:
            return _go_on(caller)
        problem = gettext("No business has this key. Check that it was copied whole.")
    return render_template("console/sign_in.html", problem=problem), 401


@blueprint.post("/sign-out")
def accept_sign_out() -> Response:
    """Forget who is reading."""
    with language_kept():
        sign_out()
    return redirect(url_for("console.show_sign_in"), 303)


def _go_on(caller: Caller) -> Response:
    wanted = request.args.get("next", "")
    # Only pages of our own: anything else could lead a reader off to a stranger's.
    is_ours = wanted.startswith(("/console/", "/rq/")) and "\\" not in wanted
    return redirect(wanted if is_ours else _home_of(caller), 303)


def _home_of(caller: Caller) -> str:
    if caller.business_id is None:
        return url_for("console.businesses")
    return url_for("console.business", business_id=caller.business_id)
