"""``/media/<token>``: one file that is to be sent, for the gateway that fetches it by address."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel, ConfigDict, Field

from timer_http.api.blueprint import problem
from timer_http.context import current_services
from timer_http.media_answer import answer_file
from timer_http.problems import PATH_TITLE
from timer_service.errors import NotFound

blueprint = APIBlueprint(
    "public_media", __name__, abp_tags=[Tag(name="Media", description="Files.")]
)


class TokenInPath(BaseModel):
    """An address we made."""

    model_config = ConfigDict(title=PATH_TITLE)

    token: str = Field(max_length=500)


@blueprint.get(
    "/media/<token>",
    responses={
        200: {"description": "The file", "content": {"*/*": {}}},
        404: problem("Nothing, or nothing any more"),
        503: problem("Not now; try again"),
    },
)
def get_upload(path: TokenInPath) -> Response:
    """Return a file to whoever was given its address, for an hour."""
    services = current_services()
    upload_id = services.media_links.read(path.token)
    found = None if upload_id is None else services.media.open_upload(upload_id)
    if found is None:
        raise NotFound("there is nothing here, or no more")
    return answer_file(found)
