"""Files: those of messages, and those to be sent."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.media_answer import answer_file
from timer_http.schemas import MessageInPath
from timer_http.upload_form import MULTIPART, check_form, read_file
from timer_service.file_types import MB
from timer_service.messages import Role
from timer_service.resources import Upload

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


@blueprint.post(
    "/api/media",
    request_body={
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    },
    responses={
        201: Upload,
        409: problem("This business's uploads fill their room"),
        411: problem("The length is not told"),
        413: problem("Larger than is taken here, or than WhatsApp takes of this type"),
        415: problem("Of a type that WhatsApp does not take"),
        501: problem("Nothing is kept here: TIMER_MEDIA_DIR is not set"),
    },
)
@require(Role.AGENT)
def upload_media() -> Response:
    """Hand a file over, to be sent within a day."""
    business_id = acting_business()
    check_form()
    services = current_services()
    with services.uploads.begin(business_id) as incoming:
        name = read_file(incoming, services.settings.media_file_mb * MB)
        upload = services.uploads.keep(business_id, incoming, name)
    return json_answer(upload, HTTPStatus.CREATED)
