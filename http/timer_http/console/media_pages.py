"""The files that stand in a conversation, for the pages that show it."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_http.media_answer import answer_file
from timer_service.messages import Role


@blueprint.get("/console/businesses/<uuid:business_id>/messages/<uuid:message_id>/media")
@require(Role.VIEWER)
def media(business_id: UUID, message_id: UUID) -> Response:
    """Answer with the file of a message."""
    business = open_business(business_id)
    return answer_file(current_services().media.open(id_of(business), message_id))
