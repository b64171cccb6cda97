"""Keys of a business. A key is shown when it is made and never again."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer, no_content
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import ApiKeyPage, ApiKeyWithSecret, KeyInPath, NewApiKey
from timer_service.errors import NotFound
from timer_service.messages import Role

blueprint = make_blueprint("api_keys", "Keys", "Keys of a business, each with a role.")


@blueprint.post("/api/keys", responses={201: ApiKeyWithSecret})
@require(Role.MANAGER)
def add_key(body: NewApiKey) -> Response:
    """Make a key; it is shown this once."""
    role = Role(body.role)
    key_id, key = current_services().keys.add(acting_business(), role, body.name)
    answer = ApiKeyWithSecret(id=key_id, role=role.value, name=body.name, api_key=key)
    return json_answer(answer, HTTPStatus.CREATED)


@blueprint.get("/api/keys", responses={200: ApiKeyPage})
@require(Role.MANAGER)
def list_keys(query: PageQuery) -> Response:
    """List keys, newest first, the revoked ones too."""
    found = current_services().keys.keys_of(
        acting_business(), before=paging.read_id(query.cursor), limit=query.limit + 1
    )
    items, cursor = paging.cut(found, query.limit, lambda one: (one.id,))
    return json_answer(ApiKeyPage(items=list(items), next_cursor=cursor))


@blueprint.delete("/api/keys/<key_id>", responses={204: None})
@require(Role.MANAGER)
def revoke_key(path: KeyInPath) -> Response:
    """Revoke a key; it is refused from the next request on."""
    if not current_services().keys.revoke(acting_business(), path.key_id):
        raise NotFound(f"there is no key {path.key_id} in use")
    return no_content()
