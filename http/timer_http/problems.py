"""Every error as RFC 9457 ``application/problem+json``.

The application and each blueprint of the API hand their exceptions to `answer_error`; the console
reads `describe` and makes a page of it. What a caller sent is never repeated, and an unexpected
exception is told to the log by its type and place, to the caller not at all.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import structlog
from flask import Response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, UnprocessableEntity

from timer_service import errors as ours
from timer_service.media_trouble import MediaTrouble, Reason

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
PATH_TITLE = "Path"
"""What every model of path parameters is titled: a malformed id in a path is a missing one."""

_FRAMES_LOGGED = 6
_FIELD_LENGTH = 100
_CLEARER = {
    "uuid_parsing": "expected a UUID",
    "uuid_type": "expected a UUID",
    "extra_forbidden": "this field is not known here",
    "missing": "this field is required",
}
_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (ours.InvalidInput, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ours.NotFound, HTTPStatus.NOT_FOUND),
    (ours.Conflict, HTTPStatus.CONFLICT),
    (ours.TooManyTries, HTTPStatus.TOO_MANY_REQUESTS),
    (ours.MalformedPayload, HTTPStatus.BAD_REQUEST),
    (ours.GatewayFailed, HTTPStatus.BAD_GATEWAY),
    (ours.GatewaysBusy, HTTPStatus.SERVICE_UNAVAILABLE),
    (ours.DatabaseUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (ours.RedisUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_MEDIA_STATUSES = {
    Reason.GONE: HTTPStatus.GONE,
    Reason.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.GATEWAY_FAILED: HTTPStatus.BAD_GATEWAY,
    Reason.GATEWAY_SLOW: HTTPStatus.GATEWAY_TIMEOUT,
    Reason.GATEWAY_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NOT_CONNECTED: HTTPStatus.CONFLICT,
    Reason.NOT_YET: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NO_ROOM: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NOT_TAKEN: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Reason.SWITCHED_OFF: HTTPStatus.NOT_IMPLEMENTED,
}


class FieldError(BaseModel):
    """One thing that is wrong with the request; ``field`` is a dotted path, ``""`` for all."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[FieldError] | None = None


class MissingParameter(BadRequest):
    """A query parameter that this call cannot do without."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.parameter = name


class InvalidRequest(UnprocessableEntity):
    """A request whose fields break the rules."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        super().__init__("some fields of the request are wrong")
        self.errors = list(errors)


def describe(error: Exception) -> Problem:
    """Say what an exception means to the caller."""
    if isinstance(error, HTTPException):
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        found: list[FieldError] | None = None
        if isinstance(error, InvalidRequest):
            found = error.errors
        elif isinstance(error, MissingParameter):
            found = [FieldError(field=error.parameter, message=error.description or "")]
        return _problem(status, error.description, found)
    if isinstance(error, MediaTrouble):
        return _problem(_MEDIA_STATUSES[error.reason], str(error))
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            field = error.field if isinstance(error, ours.InvalidInput) else None
            found = [FieldError(field=field, message=str(error))] if field else None
            is_our_fault = status is HTTPStatus.SERVICE_UNAVAILABLE
            detail = "try again in a moment" if is_our_fault else str(error)
            return _problem(status, detail, found)
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR)


def answer_error(error: Exception) -> ResponseReturnValue:
    """Answer an exception, and log it where nobody expected it."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
            return error.get_response()  # a redirect, or an answer somebody aborted with
        headers = {name: value for name, value in error.get_headers() if name != "Content-Type"}
    problem = describe(error)
    if isinstance(error, MediaTrouble):  # what it was the log has from whoever asked the gateway
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
    elif problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("request_refused_for_now", cause=type(error).__name__, route=_route())
    elif problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(
        error,
        ours.GatewayFailed,  # the gateway's fault; whoever asked it has logged that
    ):
        log_unexpected(error)
    return problem_response(problem, headers)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Write a problem."""
    body = problem.model_dump_json(exclude_none=True)
    response = Response(body, problem.status, headers=dict(headers or {}), mimetype=MEDIA_TYPE)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return response


def unauthorized_problem() -> Problem:
    """Return the 401 that says nothing about why."""
    return _problem(HTTPStatus.UNAUTHORIZED)


def answer_validation_error(error: ValidationError) -> Response:
    """Answer what flask-openapi could not read into a model; it is called as its callback."""
    if error.title == PATH_TITLE:
        return problem_response(describe(NotFound()))
    return problem_response(describe(InvalidRequest(field_errors(error))))


def field_errors(error: ValidationError) -> list[FieldError]:
    """Name the fields pydantic refused, never their values."""
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return [FieldError(field=_field_of(detail), message=_message_of(detail)) for detail in details]


def log_unexpected(error: Exception) -> None:
    """Log where an exception came from: its words may hold what customers wrote."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_LOGGED:]
    log.error(
        "request_failed",
        kind=type(error).__name__,
        cause=type(error.__cause__).__name__ if error.__cause__ else None,
        route=_route(),
        where=[f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames],
    )


def _problem(
    status: int, detail: str | None = None, errors: list[FieldError] | None = None
) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)


def _route() -> str | None:
    return request.url_rule.rule if request.url_rule is not None else None


def _field_of(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"])[:_FIELD_LENGTH]


def _message_of(detail: ErrorDetails) -> str:
    return _CLEARER.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
