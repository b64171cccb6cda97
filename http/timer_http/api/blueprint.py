"""What every blueprint of the JSON API has in common: keys, strict bodies, problems, documents."""

from __future__ import annotations

from typing import Any

from flask import current_app, request
from flask.blueprints import BlueprintSetupState
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.parameter import Parameter
from flask_openapi.models.tag import Tag
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from timer_http import request_body
from timer_http.auth import authorize
from timer_http.problems import (
    MEDIA_TYPE,
    FieldError,
    InvalidRequest,
    answer_error,
    answer_validation_error,
)

BEARER = "bearer"
_PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def problem(description: str) -> dict[str, Any]:
    """Describe an error answer for the OpenAPI document."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}}


def make_blueprint(name: str, tag: str, description: str) -> APIBlueprint:
    """Make a blueprint whose every call needs a key."""
    made = APIBlueprint(
        name,
        __name__,
        abp_tags=[Tag(name=tag, description=description)],
        abp_security=[{BEARER: []}],
        abp_responses={
            400: problem("Not JSON, or a parameter is missing"),
            401: problem("No key, or an unknown one"),
            403: problem("The role, or the business, may not"),
            404: problem("There is none in this business"),
            413: problem("Over 4 MB"),
            415: problem("Not JSON by its type, or compressed"),
            422: problem("Fields are wrong"),
            503: problem("Not now; try again"),
        },
    )
    made.before_request(authorize)
    made.before_request(_read_body)
    made.register_error_handler(Exception, answer_error)
    made.record_once(teach_host)
    return made


def document_business_id(blueprint: APIBlueprint) -> None:
    """Add ``?business_id=`` to what the OpenAPI document says of each call."""
    parameter = Parameter.model_validate(
        {
            "name": "business_id",
            "in": "query",
            "description": "names the business, for the admin key, which belongs to none",
            "schema": {"type": "string", "format": "uuid"},
        }
    )
    for item in blueprint.paths.values():
        for operation in (item.get, item.post, item.patch, item.delete):
            if operation is not None:
                operation.parameters = [*(operation.parameters or []), parameter]


def teach_host(state: BlueprintSetupState) -> None:
    """Give a plain Flask host what flask-openapi's blueprints ask of the application."""
    for name, value in (
        ("validation_error_callback", answer_validation_error),
        ("validate_response", None),
    ):
        if not hasattr(state.app, name):
            setattr(state.app, name, value)


def _read_body() -> None:
    if "body" not in current_app.view_functions[request.endpoint or ""].__annotations__:
        return
    request_body.read_body()  # kept by the request, for what reads it next
    request.json_module = request_body
    try:
        document = request.get_json()
    except UnsupportedMediaType:
        raise
    except BadRequest:
        raise BadRequest("expected a JSON document") from None
    if not isinstance(document, dict):
        raise InvalidRequest([FieldError(field="", message="expected a JSON object")])
