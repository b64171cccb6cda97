"""Files: those of messages, and those to be sent."""

from __future__ import annotations

from flask import Response

from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.media_answer import answer_file
from timer_http.schemas import MessageInPath
from timer_service.messages import Role

blueprint = make_blueprint("media", "Media", "Files: those of messages, and those to be sent.")

_FILE = {
    "description": "The file; a part of it where one is asked for (206)",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}


@blueprint.get(
    "/api/messages/<message_id>/media",
    responses={
        200: _FILE,
        409: problem("The connection cannot ask its gateway: its credentials or address"),
        410: problem("The gateway has the file no longer"),
        413: problem("Larger than is fetched"),
        501: problem("Nothing is fetched here: TIMER_MEDIA_DIR is not set"),
        502: problem("The gateway failed, or gave another file than it had announced"),
        504: problem("The gateway was too slow"),
    },
)
@require(Role.VIEWER)
def get_message_media(path: MessageInPath) -> Response:
    """Return the file of a message, fetched from its gateway the first time."""
    return answer_file(current_services().media.open(acting_business(), path.message_id))
