"""Businesses and their settings."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer, no_content
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import business_in_path, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import (
    BusinessChange,
    BusinessInPath,
    BusinessPage,
    BusinessWithKey,
    NewBusiness,
)
from timer_service.messages import Role
from timer_service.resources import Business

blueprint = make_blueprint("businesses", "Businesses", "Tenants and their settings.")


@blueprint.post("/api/businesses", responses={201: BusinessWithKey})
@require(Role.ADMIN)
def add_business(body: NewBusiness) -> Response:
    """Make a business, and a manager key that is shown this once."""
    values = body.model_dump(mode="json", exclude_unset=True)
    business, key = current_services().administration.add_business(values)
    answer = BusinessWithKey(**business.model_dump(), api_key=key)
    return json_answer(answer, HTTPStatus.CREATED)


@blueprint.get("/api/businesses", responses={200: BusinessPage})
@require(Role.ADMIN)
def list_businesses(query: PageQuery) -> Response:
    """List businesses, newest first."""
    found = current_services().administration.list_businesses(
        before=paging.read_id(query.cursor), limit=query.limit + 1
    )
    items, cursor = paging.cut(found, query.limit, lambda one: (one.id,))
    return json_answer(BusinessPage(items=list(items), next_cursor=cursor))


@blueprint.get("/api/businesses/<business_id>", responses={200: Business})
@require(Role.VIEWER)
def get_business(path: BusinessInPath) -> Response:
    """Return a business's settings."""
    business_id = business_in_path(path.business_id)
    return json_answer(current_services().administration.business(business_id))


@blueprint.patch("/api/businesses/<business_id>", responses={200: Business})
@require(Role.MANAGER)
def change_business(path: BusinessInPath, body: BusinessChange) -> Response:
    """Change settings.

    A changed idle gap applies from each chat's next touch; nothing is closed by it. The default
    connection is the one messages go out by that name none; open chats stay where they began.
    """
    business_id = business_in_path(path.business_id)
    values = body.model_dump(mode="json", exclude_unset=True)
    if "default_connection_id" in values:
        values["default_connection_id"] = body.default_connection_id
    return json_answer(current_services().administration.change_business(business_id, values))


@blueprint.delete("/api/businesses/<business_id>", responses={204: None})
@require(Role.ADMIN)
def erase_business(path: BusinessInPath) -> Response:
    """Erase a business and everything of it."""
    current_services().administration.erase_business(business_in_path(path.business_id))
    return no_content()
