"""Where gateways deliver: prove the origin on the raw bytes, then parse, then hand over.

A gateway learns nothing from being refused: an unknown connection and a wrong proof are answered
alike, after the same work. Whatever is our own fault is answered 503, so that it tries again
(some give up for good on a 4xx; source: wire formats, rule 10).
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qsl

from flask import Response, request
from flask.typing import ResponseReturnValue
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from flask_openapi.types import ResponseDict
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)

from timer_http import admission, problems, twiml
from timer_http import webhook_proof as proof
from timer_http.answers import json_answer
from timer_http.api.blueprint import problem, teach_host
from timer_http.context import current_services
from timer_http.request_body import read_body
from timer_http.webhook_delivery import Delivery
from timer_service import metrics
from timer_service.connection_directory import KnownConnection
from timer_service.errors import DatabaseUnavailable, MalformedPayload
from timer_service.messages import ParsedItem, ProviderName
from timer_service.providers import baileys, meta, twilio, waha
from timer_service.providers.base import ParseContext, Provider, WebhookRequest

_CHECKED: ResponseDict = {
    200: {"description": "The challenge", "content": {"text/plain": {}}},
    403: problem("Wrong token"),
}

blueprint = APIBlueprint(
    "webhooks",
    __name__,
    abp_tags=[Tag(name="Webhooks", description="Where gateways deliver, with their own proof.")],
    abp_responses={
        400: problem("Not parseable"),
        401: problem("No proof of origin"),
        413: problem("Over 4 MB"),
        415: problem("Compressed"),
        503: problem("Not now; try again"),
    },
)
blueprint.record_once(teach_host)


class ByConnection(BaseModel):
    """A webhook address of one connection."""

    model_config = ConfigDict(title=problems.PATH_TITLE)

    connection_id: str


class ByConnectionAndPart(ByConnection):
    """The same, with a token or an event's name behind it."""

    part: str


class ByConnectionTokenAndEvent(ByConnection):
    """The same, with a token and an event's name behind it."""

    token: str
    event: str


class Accepted(BaseModel):
    """Understood, and durable where it was of interest."""

    status: str = "ok"


@blueprint.get("/webhooks/meta", responses=_CHECKED)
def verify_meta() -> Response:
    """Answer Meta's subscription check for any connection's verify token."""
    return _verify_meta(None)


@blueprint.get("/webhooks/meta/<connection_id>", responses=_CHECKED)
def verify_meta_connection(path: ByConnection) -> Response:
    """Answer Meta's subscription check for one connection's verify token."""
    return _verify_meta(path.connection_id)


@blueprint.post("/webhooks/meta", responses={200: Accepted})
def receive_meta() -> Response:
    """Take events of any number of the apps we know, each app under its own secret."""
    incoming = _read_request(())
    directory = current_services().directory
    app = proof.find_meta_app(directory, incoming)
    if app is None:
        return _unauthentic(ProviderName.META)
    app_secret, connections = app
    items = meta.PROVIDER.parse(incoming, ParseContext())
    delivery = _delivery(ProviderName.META)
    if any(item.account not in connections for item in items if item.account is not None):
        # Perhaps a number that was connected this second.
        try:
            connections = proof.meta_apps(directory, fresh=True).get(app_secret, {})
        except DatabaseUnavailable:
            delivery.is_incomplete = True
    for item in items:
        delivery.add(connections.get(item.account or ""), item.event)
    return _accepted(delivery)


@blueprint.post("/webhooks/meta/<connection_id>", responses={200: Accepted})
def receive_meta_connection(path: ByConnection) -> Response:
    """Take events of one number."""
    return _receive_one(meta.PROVIDER, path.connection_id, _names_its_own)


@blueprint.post("/webhooks/waha/<connection_id>", responses={200: Accepted})
def receive_waha(path: ByConnection) -> Response:
    """Take events of one session; a session of another name is somebody else's."""
    return _receive_one(waha.PROVIDER, path.connection_id, _names_no_other)


@blueprint.post("/webhooks/baileys/<connection_id>", responses={200: Accepted})
def receive_baileys(path: ByConnection) -> Response:
    """Take events of one device; the proof is in a header."""
    return _receive_baileys(path.connection_id)


@blueprint.post("/webhooks/baileys/<connection_id>/<part>", responses={200: Accepted})
def receive_baileys_at_part(path: ByConnectionAndPart) -> Response:
    """Take events of one device; a token or an event's name ends the address."""
    return _receive_baileys(path.connection_id, path.part)


@blueprint.post("/webhooks/baileys/<connection_id>/<token>/<event>", responses={200: Accepted})
def receive_baileys_event(path: ByConnectionTokenAndEvent) -> Response:
    """Take events of one device; a token and an event's name end the address."""
    return _receive_baileys(path.connection_id, path.token, path.event)


@blueprint.post("/webhooks/twilio/<connection_id>", responses=twiml.RESPONSES)
def receive_twilio_connection(path: ByConnection) -> Response:
    """Take messages and status callbacks of one number; answered with empty TwiML."""
    return _receive_one(twilio.PROVIDER, path.connection_id, _names_its_own)


@blueprint.post("/twilio-webhook-opt", responses=twiml.RESPONSES)
def receive_twilio() -> Response:
    """Take messages and status callbacks of any number we know; answered with empty TwiML."""
    incoming = _read_request(())
    numbers = proof.find_twilio_numbers(current_services().directory, incoming)
    if numbers is None:
        return _unauthentic(ProviderName.TWILIO)
    delivery = _delivery(ProviderName.TWILIO)
    for item in twilio.PROVIDER.parse(incoming, ParseContext()):
        delivery.add(numbers.get(item.account or ""), item.event)
    return _accepted(delivery)


blueprint.teardown_request(admission.end_look)


@blueprint.after_request
def answer_twilio_in_twiml(response: Response) -> Response:
    """See that nothing but TwiML leaves a Twilio address, whatever happened."""
    is_twilio = ProviderName.TWILIO.value in (request.endpoint or "")
    return twiml.rewrite(response) if is_twilio else response


@blueprint.errorhandler(Exception)
def answer_webhook_error(error: Exception) -> ResponseReturnValue:
    """Count and answer what went wrong; our own faults become 503."""
    provider = next(name.value for name in ProviderName if name.value in (request.endpoint or ""))
    if isinstance(error, RequestEntityTooLarge):
        metrics.WEBHOOKS.labels(provider, "too_large").inc()
    elif isinstance(error, MalformedPayload | BadRequest | UnsupportedMediaType):
        metrics.WEBHOOKS.labels(provider, "malformed").inc()
    elif not isinstance(error, Forbidden):
        metrics.WEBHOOKS.labels(provider, "failed").inc()
        if not isinstance(error, DatabaseUnavailable | ServiceUnavailable):
            problems.log_unexpected(error)
            error = ServiceUnavailable("try again in a moment")
    return problems.answer_error(error)


def _receive_baileys(connection_id: str, *parts: str) -> Response:
    return _receive_one(
        baileys.PROVIDER,
        connection_id,
        lambda item, connection: not _names_another(item, connection),
        parts=parts,
        event_name=baileys.event_name_in_path(parts),
    )


def _receive_one(
    provider: Provider,
    connection_id: str,
    may_act: Callable[[ParsedItem, KnownConnection], bool],
    *,
    parts: tuple[str, ...] = (),
    event_name: str | None = None,
) -> Response:
    """Take a request at the address of one connection, which alone may act."""
    incoming = _read_request(parts)
    directory = current_services().directory
    connection = proof.find_connection(directory, provider, connection_id, incoming)
    if connection is None:
        return _unauthentic(provider.name)
    delivery = _delivery(provider.name)
    context = ParseContext(own_number=connection.own_number, event_name=event_name)
    for item in provider.parse(incoming, context):
        delivery.add(connection if may_act(item, connection) else None, item.event)
    return _accepted(delivery)


def _names_its_own(item: ParsedItem, connection: KnownConnection) -> bool:
    return item.account == connection.external_id


def _names_no_other(item: ParsedItem, connection: KnownConnection) -> bool:
    return item.account is None or _names_its_own(item, connection)


def _names_another(item: ParsedItem, connection: KnownConnection) -> bool:
    """Tell whether an item names an instance that is another known connection's.

    Home-made bridges put names of their own there, so one that nobody has is accepted: whatever
    it says, only the connection in the path is ever acted upon.
    """
    if _names_no_other(item, connection):
        return False
    known = current_services().directory.of_provider(ProviderName.BAILEYS)
    return any(one.external_id == item.account for one in known.values())


def _read_request(path_parts: tuple[str, ...]) -> WebhookRequest:
    public_url = current_services().settings.public_url.rstrip("/")
    query = _query_as_written()
    body = read_body()
    admission.wait_to_be_looked_at()
    return WebhookRequest(
        body=body,
        headers={name.lower(): value for name, value in request.headers.items()},
        query=_read_query(),
        path_parts=path_parts,
        url=public_url + request.path + (f"?{query}" if query else ""),
    )


def _query_as_written() -> str:
    return request.query_string.decode("utf-8", "replace")


def _read_query() -> dict[str, str]:
    """Return the query, of repeated names the first; ``request.args`` raises on what is no text."""
    pairs = parse_qsl(_query_as_written(), keep_blank_values=True)
    return dict(reversed(pairs))


def _verify_meta(connection_id: str | None) -> Response:
    challenge = proof.answer_meta_check(current_services().directory, _read_query(), connection_id)
    if challenge is None:
        metrics.WEBHOOKS.labels(ProviderName.META.value, "unauthentic").inc()
        raise Forbidden("wrong verify token")
    return Response(challenge, mimetype="text/plain")


def _unauthentic(provider: ProviderName) -> Response:
    metrics.WEBHOOKS.labels(provider.value, "unauthentic").inc()
    return problems.problem_response(problems.unauthorized_problem())


def _delivery(provider: ProviderName) -> Delivery:
    services = current_services()
    return Delivery(provider, services.intake, services.spool, services.spool_keeper)


def _accepted(delivery: Delivery) -> Response:
    """Hand over what there is, then answer.

    Raises:
        ServiceUnavailable: no turn, or a part was not stored; the gateway must bring it again.
    """
    with admission.turn(delivery.business_id):
        result = delivery.hand_over()
    metrics.WEBHOOKS.labels(delivery.provider.value, result.value).inc()
    return json_answer(Accepted(), HTTPStatus.OK)
