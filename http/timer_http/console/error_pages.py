"""What the console shows instead of a page it cannot show: in words, with the way on."""

from __future__ import annotations

from http import HTTPStatus

from flask import make_response, render_template, request, url_for
from werkzeug.exceptions import NotFound as PageNotFound
from werkzeug.wrappers import Response

from timer_http.console.access import NotSignedIn
from timer_http.console.i18n import gettext
from timer_http.console.pages import blueprint
from timer_http.origin import is_cross_origin
from timer_http.problems import describe, log_unexpected
from timer_service.media_trouble import MediaTrouble

_READS = {"GET", "HEAD"}
_ONCE = {
    "console.show_invitation",
    "console.accept_invitation",
    "console.show_reset",
    "console.accept_reset",
}
"""Links that work once."""


@blueprint.get("/console/<path:unknown>")
def unknown_page(unknown: str) -> Response:
    """Answer an address that leads nowhere."""
    raise PageNotFound(f"there is no page {unknown}")


@blueprint.errorhandler(NotSignedIn)
def answer_not_signed_in(_: NotSignedIn) -> Response:
    """Lead to the sign-in page, and from there back here."""
    if "HX-Request" in request.headers:
        response = make_response("", HTTPStatus.UNAUTHORIZED)
        response.headers["HX-Redirect"] = url_for("console.show_sign_in")
        return response
    is_worth_returning_to = request.method in _READS and request.path != "/"
    back = request.full_path.rstrip("?") if is_worth_returning_to else None
    response = make_response("", HTTPStatus.SEE_OTHER)
    response.headers["Location"] = url_for("console.show_sign_in", next=back)
    return response


@blueprint.errorhandler(Exception)
def answer_error(error: Exception) -> Response:
    """Make a page of an exception."""
    status = describe(error).status
    is_told = status == HTTPStatus.SERVICE_UNAVAILABLE or isinstance(error, MediaTrouble)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_told:
        log_unexpected(error)
    title, advice = _words(status)
    page = render_template(
        "console/error.html",
        title=title,
        advice=advice,
        is_retried=status == HTTPStatus.SERVICE_UNAVAILABLE and request.method in _READS,
        is_overview=request.endpoint == "console.business",
    )
    return make_response(page, status)


def _words(status: int) -> tuple[str, str]:
    """Say what happened and what to do about it."""
    if status == HTTPStatus.FORBIDDEN and is_cross_origin():
        return (
            gettext("This came from another site"),
            gettext("Nothing was changed. Open the console itself and try there."),
        )
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return (
            gettext("Something went wrong here"),
            gettext("It was noted. Try again in a moment."),
        )
    if status == HTTPStatus.NOT_FOUND and request.endpoint in _ONCE:
        return (
            gettext("This link works no more"),
            gettext("It was used or withdrawn, or is too old. Ask for a new one."),
        )
    known = {
        HTTPStatus.NOT_FOUND: (
            gettext("There is nothing here"),
            gettext("The address may be mistyped."),
        ),
        HTTPStatus.FORBIDDEN: (
            gettext("Your role does not allow this"),
            gettext("Ask an admin of the business for another role."),
        ),
        HTTPStatus.CONFLICT: (
            gettext("That is not possible now"),
            gettext("The conversation changed meanwhile. Go back to see how it stands."),
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: (
            gettext("Conversations cannot be read right now"),
            gettext("Messages are still being accepted. This page comes back by itself.")
            if request.method in _READS
            else gettext("Try again in a moment."),
        ),
    }
    otherwise = (gettext("This address cannot be read"), gettext("The address may be mistyped."))
    return known.get(HTTPStatus(status), otherwise)
