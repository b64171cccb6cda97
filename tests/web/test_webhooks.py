"""Webhooks: proofs, tenants, redelivery, limits and faults, as the gateways would meet them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from tests.support.twilio_requests import ACCOUNT
from tests.web.shop import Shop, evolution_body, meta_body, meta_signature, path_of
from timer_service.errors import DatabaseUnavailable, NotFound
from timer_service.intake import Intake
from timer_service.messages import ChatMessage, ProviderName
from timer_service.wiring import WebServices

SAMPLES = Path(__file__).parents[1] / "contract" / "samples"
LIMIT = 4 * 1024 * 1024


class Counted:
    """How often webhooks came to each result since the last look."""

    def __init__(self) -> None:
        self._before = self._read()

    def _read(self) -> dict[tuple[str, str], float]:
        return {
            (sample.labels["provider"], sample.labels["result"]): sample.value
            for family in REGISTRY.collect()
            if family.name == "timer_webhooks"
            for sample in family.samples
            if sample.name == "timer_webhooks_total"
        }

    def since(self) -> dict[tuple[str, str], float]:
        now, before = self._read(), self._before
        self._before = now
        return {key: now[key] - before.get(key, 0) for key in now if now[key] != before.get(key, 0)}


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def meta_shop(shop: Shop) -> Shop:
    shop.connections["meta"] = shop.connect("meta")
    return shop


@pytest.fixture
def baileys_shop(shop: Shop) -> Shop:
    shop.connections["baileys"] = shop.connect("baileys", external_id="carmel")
    return shop


def post_meta(
    client: FlaskClient, body: bytes, secret: str, connection_id: str = ""
) -> TestResponse:
    path = f"/webhooks/meta/{connection_id}" if connection_id else "/webhooks/meta"
    return client.post(path, data=body, headers=meta_signature(body, secret))


def post_baileys(
    client: FlaskClient, connection: dict[str, Any], body: object, *parts: str, **headers: str
) -> TestResponse:
    path = "/".join([f"/webhooks/baileys/{connection['id']}", *parts])
    return client.post(path, json=body, headers=headers)


# Meta


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_signed_message_opens_a_session(
    client: FlaskClient, meta_shop: Shop, counted: Counted, *, is_shared: bool
) -> None:
    connection = meta_shop.connections["meta"]
    body = meta_body(connection["external_id"])
    address = "" if is_shared else connection["id"]
    answer = post_meta(client, body, connection["secrets"]["app_secret"], address)
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    (session,) = meta_shop.sessions
    assert (session["provider"], session["customer_wa_id"]) == ("meta", "972500000001")
    assert counted.since() == {("meta", "accepted"): 1}


@pytest.mark.parametrize("is_shared", [True, False])
def test_meta_without_proof_is_401_and_stores_nothing(
    client: FlaskClient, meta_shop: Shop, other_shop: Shop, *, is_shared: bool
) -> None:
    connection = meta_shop.connections["meta"]
    other_secret = other_shop.connect("meta")["secrets"]["app_secret"]
    secret = connection["secrets"]["app_secret"]
    body = meta_body(connection["external_id"])
    path = "/webhooks/meta" if is_shared else f"/webhooks/meta/{connection['id']}"
    good = meta_signature(body, secret)["X-Hub-Signature-256"]
    headers = [{}] + [
        {"X-Hub-Signature-256": value}
        for value in ("", good[7:], good.upper(), good[:-1], "sha256=é", good + good, "sha1=0")
    ]
    headers.append({"X-Hub-Signature": good})
    if not is_shared:
        headers.append(meta_signature(body, other_secret))
    for one in headers:
        assert client.post(path, data=body, headers=one).status_code == 401, one
    tampered = body.replace(b"hello", b"hallo")
    assert (
        client.post(path, data=tampered, headers={"X-Hub-Signature-256": good}).status_code == 401
    )
    assert meta_shop.sessions == []


@pytest.mark.parametrize("is_shared", [True, False])
def test_one_shops_secret_does_nothing_to_anothers_number(
    client: FlaskClient, meta_shop: Shop, other_shop: Shop, counted: Counted, *, is_shared: bool
) -> None:
    own = meta_shop.connections["meta"]
    theirs = other_shop.connect("meta")
    body = meta_body(theirs["external_id"])
    answer = post_meta(client, body, own["secrets"]["app_secret"], "" if is_shared else own["id"])
    assert answer.status_code == 200
    assert other_shop.sessions == meta_shop.sessions == []
    assert counted.since() == {("meta", "foreign"): 1}


def test_a_batch_of_one_app_reaches_each_of_its_tenants_and_no_stranger(
    client: FlaskClient, shop: Shop, other_shop: Shop
) -> None:
    secrets = {"app_secret": "of-the-app-they-share"}
    own, theirs = shop.connect("meta", secrets=secrets), other_shop.connect("meta", secrets=secrets)
    stranger = other_shop.connect("meta")
    numbers = (own["external_id"], theirs["external_id"], stranger["external_id"], "999")
    answer = post_meta(client, meta_body(*numbers), "of-the-app-they-share")
    assert answer.status_code == 200
    assert [one["connection_id"] for one in shop.sessions] == [own["id"]]
    assert [one["connection_id"] for one in other_shop.sessions] == [theirs["id"]]


def test_the_sample_batch_of_two_tenants_is_divided(
    client: FlaskClient, shop: Shop, other_shop: Shop
) -> None:
    body = (SAMPLES / "meta" / "batch_two_entries_two_tenants.json").read_bytes()
    accounts = {
        change["value"]["metadata"]["phone_number_id"]
        for entry in json.loads(body)["entry"]
        for change in entry["changes"]
    }
    first, second = sorted(accounts)
    secrets = {"app_secret": "shared"}
    shop.connect("meta", external_id=first, secrets=secrets)
    other_shop.connect("meta", external_id=second, secrets=secrets)
    assert post_meta(client, body, "shared").status_code == 200
    assert shop.sessions
    assert other_shop.sessions
    assert {one["business_id"] for one in shop.sessions} == {shop.id}


def test_a_number_connected_this_instant_is_not_foreign(client: FlaskClient, shop: Shop) -> None:
    secrets = {"app_secret": "shared"}
    shop.connect("meta", secrets=secrets)
    assert post_meta(client, meta_body("1"), "shared").status_code == 200
    new = shop.connect("meta", secrets=secrets)
    assert post_meta(client, meta_body(new["external_id"]), "shared").status_code == 200
    assert [one["connection_id"] for one in shop.sessions] == [new["id"]]


def test_a_changed_secret_counts_at_once_and_the_old_one_within_a_second(
    client: FlaskClient, meta_shop: Shop
) -> None:
    connection = meta_shop.connections["meta"]
    body = meta_body(connection["external_id"])
    old = connection["secrets"]["app_secret"]
    assert post_meta(client, body, old).status_code == 200
    path = f"/api/connections/{connection['id']}"
    assert meta_shop.patch(path, {"secrets": {"app_secret": "new"}}).status_code == 200
    assert post_meta(client, body, "new").status_code == 200
    assert post_meta(client, body, old).status_code == 401


def test_metas_check_is_answered_with_the_challenge_and_nothing_else(
    client: FlaskClient, meta_shop: Shop, other_shop: Shop
) -> None:
    connection = meta_shop.connections["meta"]
    other_token = other_shop.connect("meta")["secrets"]["verify_token"]
    token = connection["secrets"]["verify_token"]

    def check(path: str, token: str, challenge: str = "1158201444") -> TestResponse:
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
        return client.get(path, query_string=query)

    own = f"/webhooks/meta/{connection['id']}"
    for path in ("/webhooks/meta", own):
        answer = check(path, token)
        assert (answer.status_code, answer.text) == (200, "1158201444")
        assert answer.mimetype == "text/plain"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for wrong in ("", "x", token + "x"):
            assert check(path, wrong).status_code == 403
        assert check(path, token, "<script>").status_code == 403
        assert client.get(path).status_code == 403
    assert check("/webhooks/meta", other_token).status_code == 200
    assert check(own, other_token).status_code == 403
    assert check(f"/webhooks/meta/{uuid4()}", "").status_code == 403
    no_text = client.get("/webhooks/meta", environ_overrides={"QUERY_STRING": "\xff=\xfe"})
    assert no_text.status_code == 403


# Baileys


def test_each_address_of_a_baileys_connection_works(
    client: FlaskClient, baileys_shop: Shop
) -> None:
    connection = baileys_shop.connections["baileys"]
    token = connection["secrets"]["token"]
    assert path_of(connection["webhook_url"]) == f"/webhooks/baileys/{connection['id']}/{token}"
    named = evolution_body("carmel")
    unnamed = {name: value for name, value in named.items() if name != "event"}
    for number, (body, parts, headers) in enumerate(
        (
            (named, (token,), {}),
            (unnamed, (token, "messages-upsert"), {}),
            (unnamed, ("messages-upsert",), {"apikey": token}),
            (named, (), {"Authorization": f"Bearer {token}"}),
            (named, (), {"X-Internal-Secret": token}),
        )
    ):
        body["data"]["key"]["id"] = f"3EB0{number:012}"
        answer = post_baileys(client, connection, body, *parts, **headers)
        assert answer.status_code == 200, (parts, headers)
    (session,) = baileys_shop.sessions
    assert session["message_count"] == 5


def test_baileys_without_proof_is_401_and_stores_nothing(
    client: FlaskClient, baileys_shop: Shop, other_shop: Shop
) -> None:
    connection = baileys_shop.connections["baileys"]
    token = connection["secrets"]["token"]
    other = other_shop.connect("baileys")
    body = evolution_body("carmel")
    for parts, headers in (
        ((), {}),
        ((token[:-1],), {}),
        ((token + "x",), {}),
        ((other["secrets"]["token"],), {}),
        (("messages-upsert", token), {}),
        ((), {"apikey": other["secrets"]["token"]}),
        ((), {"Authorization": "Bearer é"}),
    ):
        answer = post_baileys(client, connection, body, *parts, **headers)
        assert answer.status_code == 401, (parts, headers)
    assert baileys_shop.sessions == other_shop.sessions == []


def test_an_unknown_connection_is_refused_exactly_like_a_wrong_proof(
    client: FlaskClient, baileys_shop: Shop, meta_shop: Shop
) -> None:
    baileys_shop.connections["waha"] = baileys_shop.connect("waha")
    baileys_shop.connections["twilio"] = baileys_shop.connect("twilio", external_id=ACCOUNT)
    for provider in ("baileys", "meta", "waha", "twilio"):
        known = baileys_shop.connections[provider]["id"]
        answers = [
            client.post(f"/webhooks/{provider}/{one}", json=evolution_body("carmel"))
            for one in (known, str(uuid4()), "not-an-id", "%00", "é")
        ]
        seen = {(one.status_code, one.text, tuple(sorted(one.headers.items()))) for one in answers}
        assert len(seen) == 1
        assert answers[0].status_code == 401


def test_a_body_that_names_another_known_instance_does_nothing(
    client: FlaskClient, baileys_shop: Shop, other_shop: Shop, counted: Counted
) -> None:
    own = baileys_shop.connections["baileys"]
    other_shop.connect("baileys", external_id="parang")
    answer = post_baileys(client, own, evolution_body("parang"), own["secrets"]["token"])
    assert answer.status_code == 200
    assert baileys_shop.sessions == other_shop.sessions == []
    assert counted.since() == {("baileys", "foreign"): 1}


@pytest.mark.parametrize("name", ["session", "sessionId", "tenantId"])
def test_a_bridges_own_name_for_itself_is_accepted(
    client: FlaskClient, baileys_shop: Shop, name: str
) -> None:
    own = baileys_shop.connections["baileys"]
    body = evolution_body(None, **{name: "whatever-the-bridge-says"})
    assert post_baileys(client, own, body, own["secrets"]["token"]).status_code == 200
    assert len(baileys_shop.sessions) == 1


def test_a_connections_proof_is_worth_nothing_once_it_is_deleted(
    client: FlaskClient, baileys_shop: Shop, services: WebServices
) -> None:
    connection = baileys_shop.connections["baileys"]
    assert baileys_shop.delete(f"/api/connections/{connection['id']}").status_code == 204
    services.directory.of_provider(ProviderName.BAILEYS, fresh=True)
    token = connection["secrets"]["token"]
    assert post_baileys(client, connection, evolution_body("carmel"), token).status_code == 401


# both


def test_forty_first_messages_at_once_open_one_session(
    client: FlaskClient, baileys_shop: Shop
) -> None:
    connection = baileys_shop.connections["baileys"]
    token = connection["secrets"]["token"]
    app = client.application

    def deliver(number: int) -> int:
        body = evolution_body("carmel", f"3EB0{number:012}")
        for _ in range(20):  # a gateway tries again where it is told to
            status = post_baileys(app.test_client(), connection, body, token).status_code
            if status != 503:
                return status
        return 503

    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(deliver, range(40))) == {200}
    (session,) = baileys_shop.sessions
    assert session["message_count"] == 40
    assert baileys_shop.active_count == 1


def test_uninteresting_items_are_answered_and_counted(
    client: FlaskClient, meta_shop: Shop, counted: Counted
) -> None:
    connection = meta_shop.connections["meta"]
    body = json.dumps(
        {
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"field": "account_alerts", "value": {}}]}],
        }
    ).encode()
    assert post_meta(client, body, connection["secrets"]["app_secret"]).status_code == 200
    assert counted.since() == {("meta", "skipped"): 1}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"text"', b"[" * 100_000, b"null"])
def test_an_authentic_body_that_cannot_be_parsed_is_400(
    client: FlaskClient, meta_shop: Shop, baileys_shop: Shop, counted: Counted, body: bytes
) -> None:
    meta_one, baileys_one = meta_shop.connections["meta"], meta_shop.connections["baileys"]
    answers = [
        post_meta(client, body, meta_one["secrets"]["app_secret"]),
        client.post(path_of(baileys_one["webhook_url"]), data=body),
    ]
    assert [one.status_code for one in answers] == [400, 400]
    assert {one.mimetype for one in answers} == {"application/problem+json"}
    assert counted.since() == {("meta", "malformed"): 1, ("baileys", "malformed"): 1}


def test_a_body_over_4_mb_is_413_before_anything_else(
    client: FlaskClient, meta_shop: Shop, counted: Counted
) -> None:
    connection = meta_shop.connections["meta"]
    body = b" " * (LIMIT + 1)
    answer = post_meta(client, body, connection["secrets"]["app_secret"])
    assert answer.status_code == 413
    assert counted.since() == {("meta", "too_large"): 1}
    at_limit = meta_body(connection["external_id"]).ljust(LIMIT)
    assert post_meta(client, at_limit, connection["secrets"]["app_secret"]).status_code == 200


# faults


@pytest.fixture
def break_intake(
    services: WebServices, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[Any, Any], None]], None]]:
    """Have intake call a function with each connection's id and events first."""
    real = Intake.record

    def install(fault: Callable[[Any, Any], None]) -> None:
        def record(self: Intake, connection_id: Any, events: Any) -> Any:
            fault(connection_id, events)
            return real(self, connection_id, events)

        monkeypatch.setattr(Intake, "record", record)

    return install


def failing_for(connection_id: str, error: Exception) -> Callable[[Any, Any], None]:
    def fault(one: Any, _: Any) -> None:
        if str(one) == connection_id:
            raise error

    return fault


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), ValueError("a bug")])
def test_one_tenants_fault_is_503_and_the_others_messages_are_kept(  # noqa: PLR0917  # fixtures
    client: FlaskClient,
    shop: Shop,
    other_shop: Shop,
    counted: Counted,
    break_intake: Callable[..., None],
    error: Exception,
) -> None:
    secrets = {"app_secret": "shared"}
    own, theirs = shop.connect("meta", secrets=secrets), other_shop.connect("meta", secrets=secrets)
    break_intake(failing_for(own["id"], error))
    answer = post_meta(client, meta_body(own["external_id"], theirs["external_id"]), "shared")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (len(shop.sessions), len(other_shop.sessions)) == (0, 1)
    assert counted.since() == {("meta", "failed"): 1}


def test_a_message_that_cannot_be_stored_does_not_lose_its_neighbours(
    client: FlaskClient, meta_shop: Shop, break_intake: Callable[..., None]
) -> None:
    def fault(_: Any, events: Any) -> None:
        if any(isinstance(one, ChatMessage) and one.text == "poison" for one in events):
            raise ValueError("a bug")

    break_intake(fault)
    connection = meta_shop.connections["meta"]
    document = json.loads(meta_body(connection["external_id"], text="first"))
    for text in ("poison", "last"):
        more = json.loads(meta_body(connection["external_id"], text=text))
        document["entry"] += more["entry"]
    body = json.dumps(document).encode()
    assert post_meta(client, body, connection["secrets"]["app_secret"]).status_code == 503
    (session,) = meta_shop.sessions
    messages = meta_shop.get(f"/api/sessions/{session['id']}/messages").json["items"]
    assert [one["text"] for one in messages] == ["first", "last"]


def test_a_connection_that_went_meanwhile_is_200_and_counted(
    client: FlaskClient, baileys_shop: Shop, counted: Counted, break_intake: Callable[..., None]
) -> None:
    connection = baileys_shop.connections["baileys"]
    break_intake(failing_for(connection["id"], NotFound("gone")))
    token = connection["secrets"]["token"]
    assert post_baileys(client, connection, evolution_body("carmel"), token).status_code == 200
    assert counted.since() == {("baileys", "skipped"): 1}


def test_postgres_away_is_503_never_4xx(
    client: FlaskClient, baileys_shop: Shop, services: WebServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = baileys_shop.connections["baileys"]

    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(type(services.directory), "of_provider", fail)
    token = connection["secrets"]["token"]
    answers = [
        post_baileys(client, connection, evolution_body("carmel"), token),
        client.post("/webhooks/meta", data=b"{}"),
        client.get("/webhooks/meta"),
    ]
    assert {one.status_code for one in answers} == {503}
    assert {one.headers["Retry-After"] for one in answers} == {"1"}


def test_many_forged_requests_share_their_fresh_readings(
    client: FlaskClient, baileys_shop: Shop, services: WebServices
) -> None:
    readings = []
    real = services.directory._database.transaction

    def counting() -> Any:
        readings.append(1)
        return real()

    connection = baileys_shop.connections["baileys"]
    app = client.application
    monkey = pytest.MonkeyPatch()
    monkey.setattr(services.directory._database, "transaction", counting)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(
            pool.map(
                lambda _: post_baileys(app.test_client(), connection, {}, "x").status_code,
                range(64),
            )
        )
    monkey.undo()
    assert set(statuses) == {401}
    assert len(readings) < 64
