"""The active-chats number for pages of any origin, and the element that shows it there.

The proof is a token (`timer_service.count_tokens`) in a header, never a cookie, so any origin may
ask. Nothing else of the service can be read from another origin.
"""

from __future__ import annotations

import json

from flask import Response, current_app, request, send_from_directory
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from timer_http.answers import json_answer
from timer_http.api.blueprint import BEARER, problem
from timer_http.context import current_services
from timer_http.problems import describe, problem_response
from timer_http.schemas import ActiveCount
from timer_service.errors import DatabaseUnavailable, NotFound
from timer_service.ids import BusinessId

SCRIPT_KEPT_S = 3600
_PREFLIGHT_KEPT_S = 3600

blueprint = APIBlueprint(
    "public_count",
    __name__,
    abp_tags=[Tag(name="Active chats", description="What is going on now.")],
)


@blueprint.get(
    "/public/active-chats",
    security=[{BEARER: []}],
    responses={
        200: ActiveCount,
        401: problem("No token of ours, or one that has ended"),
        403: problem("The token is for pages of other origins"),
        503: problem("Neither Redis nor Postgres can tell: active_chats_count is null"),
    },
)
def count_active_chats() -> Response:
    """Count a business's active chats, for whoever shows a token made for that."""
    business_id = _business_of_token()
    try:
        count = current_services().active_chats.count(business_id)
    except DatabaseUnavailable as error:
        answer = problem_response(describe(error))
        answer.set_data(json.dumps({**answer.get_json(), "active_chats_count": None}))
        return answer
    return json_answer(ActiveCount(active_chats_count=count))


@blueprint.get(
    "/active-chats.js",
    responses={200: {"description": "The script", "content": {"text/javascript": {}}}},
)
def script() -> Response:
    """Return the script that defines the element ``<active-chats>``."""
    return send_from_directory(
        f"{current_app.root_path}/static", "active-chats.js", max_age=SCRIPT_KEPT_S
    )


@blueprint.after_request
def open_to_every_origin(response: Response) -> Response:
    """Let pages of any origin read the answer, errors and preflights too."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = "GET, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = "Authorization"
        response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_KEPT_S)
    return response


def _business_of_token() -> BusinessId:
    """Return whose number the request may see.

    Raises:
        Unauthorized: it shows no token that is good now.
        Forbidden: it comes from a page the token is not for.
    """
    offered = request.authorization
    allowed = None
    if offered is not None and offered.type == "bearer":
        allowed = current_services().count_tokens.read(offered.token or "")
    if allowed is None or not _is_there(allowed.business_id):
        raise Unauthorized(
            "expected Authorization: Bearer <token of /api/active-chats-tokens>",
            www_authenticate=WWWAuthenticate("bearer"),
        )
    if not allowed.is_good_in(request.headers.get("Origin")):
        raise Forbidden("this token is for pages of other origins")
    return allowed.business_id


def _is_there(business_id: BusinessId) -> bool:
    try:
        current_services().administration.business(business_id)
    except NotFound:
        return False
    except DatabaseUnavailable:
        # Redis may still tell the number; of a business that was erased it holds no chats.
        return True
    return True
