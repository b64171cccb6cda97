"""Twilio's webhooks: one address for all numbers, one for each; TwiML whatever happens."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from werkzeug.test import TestResponse

from tests.support.twilio_requests import (
    ACCOUNT,
    NUMBER,
    SID,
    signature,
    twilio_body,
    twilio_headers,
    twilio_status,
)
from tests.web.shop import Shop, path_of
from timer_http.twiml import EMPTY
from timer_service.errors import DatabaseUnavailable
from timer_service.intake import Intake
from timer_service.messages import ProviderName
from timer_service.wiring import WebServices

PUBLIC = "https://timer.example"
SHARED = "/twilio-webhook-opt"
OTHER_SID = "AC00000000000000000000000000000002"
LIMIT = 4 * 1024 * 1024


@pytest.fixture
def twilio(shop: Shop) -> dict[str, Any]:
    return shop.connect("twilio", external_id=ACCOUNT)


@pytest.fixture(params=["shared", "own"])
def path(request: pytest.FixtureRequest, twilio: dict[str, Any]) -> str:
    return SHARED if request.param == "shared" else path_of(twilio["webhook_url"])


def post(client: FlaskClient, path: str, body: bytes, token: str, **options: Any) -> TestResponse:
    headers = twilio_headers(f"{PUBLIC}{path}", body, token) | options.pop("headers", {})
    answer = client.post(path, data=body, headers=headers, **options)
    assert_twiml(answer)
    return answer


def assert_twiml(answer: TestResponse) -> None:
    assert (answer.text, answer.mimetype) == (EMPTY, "text/xml")
    assert int(answer.headers["Content-Length"]) == len(EMPTY)


def token_of(connection: dict[str, Any]) -> str:
    token: str = connection["secrets"]["auth_token"]
    return token


def count(result: str) -> float:
    labels = {"provider": "twilio", "result": result}
    return REGISTRY.get_sample_value("timer_webhooks_total", labels) or 0


def test_a_connections_own_address_is_told(twilio: dict[str, Any]) -> None:
    assert twilio["webhook_url"] == f"{PUBLIC}/webhooks/twilio/{twilio['id']}"


def test_a_signed_message_opens_a_session_and_is_answered_empty_twiml(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    before = count("accepted")
    assert post(client, path, twilio_body(), token_of(twilio)).status_code == 200
    (session,) = shop.sessions
    assert (session["provider"], session["customer_wa_id"]) == ("twilio", "972500000001")
    assert session["connection_id"] == twilio["id"]
    assert count("accepted") == before + 1


def test_five_deliveries_to_both_addresses_store_it_once(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any]
) -> None:
    for path in [SHARED, path_of(twilio["webhook_url"])] * 3:
        headers = {"I-Twilio-Idempotency-Token": "same"}
        answer = post(client, path, twilio_body(), token_of(twilio), headers=headers)
        assert answer.status_code == 200
    assert [one["message_count"] for one in shop.sessions] == [1]


def test_without_proof_it_is_401_and_stores_nothing(
    client: FlaskClient, shop: Shop, other_shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    theirs = other_shop.connect("twilio", external_id=f"{OTHER_SID}:{NUMBER}")
    body = twilio_body()
    good = twilio_headers(f"{PUBLIC}{path}", body, token_of(twilio))
    proofs = [
        None,
        "",
        good["X-Twilio-Signature"][:-1],
        good["X-Twilio-Signature"].swapcase(),
        "é",
        signature(f"{PUBLIC}{path}", token_of(twilio)),
        signature(f"http://localhost{path}" + "x", token_of(twilio)),
        twilio_headers(f"{PUBLIC}{path}", body, token_of(theirs))["X-Twilio-Signature"],
        twilio_headers(f"{PUBLIC}{path}/", body, token_of(twilio))["X-Twilio-Signature"],
        twilio_headers(f"http://localhost{path}", body, token_of(twilio))["X-Twilio-Signature"],
    ]
    before = count("unauthentic")
    for proof in proofs:
        headers = good | {"X-Twilio-Signature": proof} if proof is not None else {}
        answer = client.post(path, data=body, headers=headers)
        assert answer.status_code == 401, proof
        assert_twiml(answer)
    tampered = body.replace(b"hello", b"hallo")
    assert client.post(path, data=tampered, headers=good).status_code == 401
    assert shop.sessions == other_shop.sessions == []
    assert count("unauthentic") == before + len(proofs) + 1


def test_the_url_is_the_public_one_whatever_the_request_says(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    elsewhere = "http://internal.example:9000"
    lies = {"Host": "internal.example:9000", "X-Forwarded-Host": "internal.example:9000"}
    body = twilio_body()
    headers = twilio_headers(f"{elsewhere}{path}", body, token_of(twilio)) | lies
    assert client.post(path, base_url=elsewhere, data=body, headers=headers).status_code == 401
    answer = post(client, path, body, token_of(twilio), base_url=elsewhere, headers=lies)
    assert answer.status_code == 200
    assert len(shop.sessions) == 1


@pytest.mark.parametrize("query", ["shop=b&a=%2F+x", "b=2&a=1&b=1", "q=what?", "x"])
def test_the_query_is_signed_as_it_was_written(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str, query: str
) -> None:
    body = twilio_body()
    headers = twilio_headers(f"{PUBLIC}{path}?{query}", body, token_of(twilio))
    assert client.post(f"{path}?{query}", data=body, headers=headers).status_code == 200
    assert client.post(path, data=body, headers=headers).status_code == 401
    assert len(shop.sessions) == 1


def test_a_query_that_is_no_text_is_refused_like_any_other(
    client: FlaskClient, twilio: dict[str, Any], path: str
) -> None:
    answer = client.post(path, data=twilio_body(), environ_overrides={"QUERY_STRING": "\xff=\xfe"})
    assert answer.status_code == 401
    assert_twiml(answer)


@pytest.mark.parametrize("account", [f"{OTHER_SID}:{NUMBER}", f"{SID}:+15550008888"])
def test_one_shops_token_does_nothing_to_anothers_number(
    client: FlaskClient, shop: Shop, other_shop: Shop, twilio: dict[str, Any], account: str
) -> None:
    theirs = other_shop.connect("twilio", external_id=account)
    own_path, their_path = path_of(twilio["webhook_url"]), path_of(theirs["webhook_url"])
    before = count("foreign")
    for body in (twilio_body(account), twilio_status(account, "SM1", "read")):
        assert post(client, own_path, body, token_of(twilio)).status_code == 200
        assert post(client, SHARED, body, token_of(twilio)).status_code == 401
        assert post(client, their_path, body, token_of(twilio)).status_code == 401
    assert shop.sessions == other_shop.sessions == []
    assert count("foreign") == before + 2


def test_a_number_of_the_account_that_nobody_connected_is_accepted_and_does_nothing(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    before = count("foreign")
    body = twilio_body(f"{SID}:+15550007777")
    assert post(client, path, body, token_of(twilio)).status_code == 200
    assert count("foreign") == before + 1
    stranger = twilio_body("AC00000000000000000000000000000009:+15550007777")
    assert post(client, SHARED, stranger, token_of(twilio)).status_code == 401
    assert shop.sessions == []


def test_two_shops_of_one_twilio_account_get_their_own(
    client: FlaskClient, shop: Shop, other_shop: Shop
) -> None:
    secrets = {"auth_token": "of-the-account-they-share"}
    shop.connect("twilio", external_id=ACCOUNT, secrets=secrets)
    theirs = other_shop.connect("twilio", external_id=f"{SID}:+15550008888", secrets=secrets)
    body = twilio_body(f"{SID}:+15550008888")
    assert post(client, SHARED, body, secrets["auth_token"]).status_code == 200
    assert [one["connection_id"] for one in other_shop.sessions] == [theirs["id"]]
    assert shop.sessions == []


def test_a_number_connected_this_instant_is_not_foreign(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any]
) -> None:
    assert post(client, SHARED, twilio_body(), token_of(twilio)).status_code == 200
    account = f"{SID}:+15550008888"
    new = shop.connect("twilio", external_id=account, secrets=twilio["secrets"])
    assert post(client, SHARED, twilio_body(account, "SM2"), token_of(new)).status_code == 200
    assert new["id"] in {one["connection_id"] for one in shop.sessions}


def test_tokens_are_exchanged_without_refusing_anything(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], services: WebServices, path: str
) -> None:
    def change(**secrets: str) -> None:
        address = f"/api/connections/{twilio['id']}"
        assert shop.patch(address, {"secrets": secrets}).status_code == 200

    def sign(token: str) -> int:
        return post(client, path, twilio_body(), token).status_code

    old = token_of(twilio)
    change(secondary_auth_token="new")
    assert [sign(old), sign("new")] == [200, 200]
    change(auth_token="new")
    services.directory.of_provider(ProviderName.TWILIO, fresh=True)  # or within a second
    assert [sign("new"), sign(old)] == [200, 401]


def test_a_status_callback_moves_the_message_we_recorded(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    sent = {"provider_message_id": "SMff", "direction": "out", "author": "bot"}
    shop.record(twilio, "on its way", **sent)
    (session,) = shop.sessions
    seen = []
    for status in ("read", "delivered", "sent"):
        body = twilio_status(ACCOUNT, "SMff", status)
        assert post(client, path, body, token_of(twilio)).status_code == 200
        (message,) = shop.get(f"/api/sessions/{session['id']}/messages").json["items"]
        seen.append(message["status"])
    assert seen == ["read", "read", "read"]
    assert shop.sessions[0]["deadline_at"] == session["deadline_at"]


def test_json_with_its_hash_in_the_address_is_read(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    fields = {
        "AccountSid": SID,
        "To": f"whatsapp:{NUMBER}",
        "From": "whatsapp:+972500000001",
        "MessageSid": "SM1",
        "Body": "hello",
    }
    body = json.dumps(fields).encode()
    address = f"{path}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {
        "X-Twilio-Signature": signature(f"{PUBLIC}{address}", token_of(twilio)),
        "Content-Type": "application/json",
    }
    changed = body.replace(b"hello", b"hallo")
    assert client.post(address, data=changed, headers=headers).status_code == 401
    answer = client.post(address, data=body, headers=headers)
    assert answer.status_code == 200
    assert_twiml(answer)
    assert len(shop.sessions) == 1


def test_an_authentic_body_that_cannot_be_parsed_is_400_in_twiml(
    client: FlaskClient, twilio: dict[str, Any]
) -> None:
    body = b'{"AccountSid"'
    path = f"{path_of(twilio['webhook_url'])}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    proof = signature(f"{PUBLIC}{path}", token_of(twilio))
    headers = {"X-Twilio-Signature": proof, "Content-Type": "application/json"}
    before = count("malformed")
    answer = client.post(path, data=body, headers=headers)
    assert answer.status_code == 400
    assert_twiml(answer)
    assert count("malformed") == before + 1


def test_a_body_over_4_mb_is_413_in_twiml_and_one_of_4_mb_is_taken(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], path: str
) -> None:
    empty = twilio_body(Body="")
    assert (
        post(
            client, path, twilio_body(Body="x" * (LIMIT + 1 - len(empty))), token_of(twilio)
        ).status_code
        == 413
    )
    body = twilio_body(Body="x" * (LIMIT - len(empty)))
    assert len(body) == LIMIT
    assert post(client, path, body, token_of(twilio)).status_code == 200
    assert len(shop.sessions) == 1


def test_an_sms_to_the_same_number_is_answered_and_counted(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any]
) -> None:
    before = count("skipped")
    body = twilio_body(From="+972500000001", To=NUMBER)
    path = path_of(twilio["webhook_url"])
    assert post(client, path, body, token_of(twilio)).status_code == 200
    assert shop.sessions == []
    assert count("skipped") == before + 1


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), ValueError("a bug")])
def test_our_own_fault_is_503_in_twiml(  # noqa: PLR0917  # fixtures
    client: FlaskClient,
    shop: Shop,
    twilio: dict[str, Any],
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    before = count("failed")
    with monkeypatch.context() as broken:
        broken.setattr(Intake, "record", fail)
        answer = post(client, path, twilio_body(), token_of(twilio))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert count("failed") == before + 1
    assert post(client, path, twilio_body(), token_of(twilio)).status_code == 200
    assert len(shop.sessions) == 1


def test_connections_that_cannot_be_read_are_503_in_twiml(
    client: FlaskClient,
    twilio: dict[str, Any],
    path: str,
    services: WebServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(type(services.directory), "of_provider", fail)
    assert post(client, path, twilio_body(), token_of(twilio)).status_code == 503


def test_a_number_we_know_needs_no_postgres_to_be_believed_or_refused(
    client: FlaskClient,
    twilio: dict[str, Any],
    services: WebServices,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = services.directory.of_provider(ProviderName.TWILIO, fresh=True)

    def copy_only(*_: object, fresh: bool = False, **__: object) -> Any:
        if fresh:
            raise DatabaseUnavailable("away")
        return known

    monkeypatch.setattr(type(services.directory), "of_provider", copy_only)
    assert post(client, SHARED, twilio_body(), token_of(twilio)).status_code == 200
    assert post(client, SHARED, twilio_body(), "forged").status_code == 401
    unknown = twilio_body(f"{SID}:+15550007777")
    assert post(client, SHARED, unknown, token_of(twilio)).status_code == 503


def test_a_deleted_connection_is_refused_like_one_that_never_was(
    client: FlaskClient, shop: Shop, twilio: dict[str, Any], services: WebServices, path: str
) -> None:
    assert shop.delete(f"/api/connections/{twilio['id']}").status_code == 204
    services.directory.of_provider(ProviderName.TWILIO, fresh=True)
    answers = [
        post(client, path, twilio_body(), token_of(twilio)),
        post(client, f"/webhooks/twilio/{uuid4()}", twilio_body(), token_of(twilio)),
    ]
    assert [one.status_code for one in answers] == [401, 401]
    assert dict(answers[0].headers) == dict(answers[1].headers)
