"""What holds of every gateway's webhooks, by one suite: proof, redelivery, whatever a body holds.

The requests are the demo's, signed as each gateway signs, or samples, whole and broken. Whatever
comes is answered 2xx, or 400 where nobody can read it; what stands beside it is kept.
"""

from __future__ import annotations

import copy
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from werkzeug.test import TestResponse

from tests.contract.gateways import GATEWAYS
from tests.contract.mutations import broken_bytes, broken_samples
from tests.support.twilio_requests import ACCOUNT, FORM, twilio_headers
from tests.web.shop import Shop, meta_signature, path_of, waha_signature
from timer_service.clock import utc_now
from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import Gateway, Sent
from timer_service.demo.gateways import demo_gateways
from timer_service.errors import DatabaseUnavailable
from timer_service.messages import Delivery, ProviderName
from timer_service.wiring import WebServices

LIMIT = 4 * 1024 * 1024
NOA = Person(name="נועה ברק", phone="972500001001")
SAMPLE_ACCOUNTS = {
    "meta": "100000000000001",
    "baileys": "demo-instance",
    "twilio": ACCOUNT,
    "waha": "default",
}
PLAIN_TEXTS = {
    "meta/text_before_april_2026_no_user_id.json",
    "baileys/upsert_notify_text.json",
    "twilio/text.txt",
    "waha/message_text_webjs.json",
}
GOOD_NUMBER = "972599999999"
UNREADABLE = [b"", b"{", b"\xff", b'"text"', b"[" * 100_000, b"null"]

every_gateway = pytest.mark.parametrize("name", list(GATEWAYS))
with_a_phone = pytest.mark.parametrize("name", ["meta", "baileys", "waha"])
with_lists = pytest.mark.parametrize("name", ["meta", "baileys", "waha"])


@dataclass
class Line:
    """A shop's number at one gateway, and the gateway itself."""

    client: FlaskClient
    shop: Shop
    connection: dict[str, Any]
    gateway: Gateway

    @classmethod
    def make(cls, client: FlaskClient, shop: Shop, name: str, account: str | None = None) -> Line:
        gateway = demo_gateways(secrets.token_bytes(32))[ProviderName(name)]
        connection = shop.connect(
            name,
            external_id=account or gateway.external_id,
            secrets=dict(gateway.secrets),
            base_url="http://gateway.internal:3000",
        )
        return cls(client, shop, connection, gateway.at(connection["webhook_url"]))

    def says(self, text: str = "שלום", by: str = "customer", kind: str = "text") -> bytes:
        turn = Turn(by=by, after_s=0, text=text, type=kind)  # type: ignore[arg-type]
        return self.gateway.webhook(NOA, turn, utc_now()).body

    def proof(self, body: bytes) -> dict[str, str]:
        """Return the headers that prove a body, as this kind of gateway does."""
        known = self.gateway.secrets
        match self.gateway.provider:
            case ProviderName.META:
                return meta_signature(body, known["app_secret"])
            case ProviderName.WAHA:
                return waha_signature(body, known["hmac_key"])
            case ProviderName.TWILIO:
                try:
                    url = self.connection["webhook_url"]
                    return twilio_headers(url, body, known["auth_token"])
                except UnicodeDecodeError:
                    return {}
        return {}

    def post(self, body: bytes, **headers: str) -> TestResponse:
        """Post a body with its proof, or with what is given in its place."""
        path = path_of(self.connection["webhook_url"])
        return self.client.post(path, data=body, headers=headers or self.proof(body))

    def post_unproven(self, body: bytes, stranger: Line | None = None) -> TestResponse:
        path = path_of(self.connection["webhook_url"])
        headers = {"Content-Type": FORM if self.gateway.provider == "twilio" else "text/json"}
        if stranger is not None:
            headers |= stranger.proof(body)
        if self.gateway.provider is ProviderName.BAILEYS:
            token = stranger.connection["secrets"]["token"] if stranger else "no-token"
            path = f"{path.rpartition('/')[0]}/{token}"
        return self.client.post(path, data=body, headers=headers)

    def messages(self) -> list[dict[str, Any]]:
        """Return all of the shop's messages, session by session."""
        found: list[dict[str, Any]] = []
        for session in self.shop.sessions:
            page = self.shop.get(
                f"/api/sessions/{session['id']}/messages", query_string="limit=100"
            )
            found += page.json["items"]
        return found

    def texts(self) -> list[str]:
        return [one["text"] for one in self.messages()]


@pytest.fixture
def line(client: FlaskClient, shop: Shop, name: str) -> Line:
    return Line.make(client, shop, name)


@pytest.fixture
def sampled(client: FlaskClient, shop: Shop, name: str) -> Line:
    """Give the connection that the samples name."""
    return Line.make(client, shop, name, SAMPLE_ACCOUNTS[name])


class TestProof:
    @every_gateway
    def test_what_is_proven_is_stored(self, line: Line) -> None:
        assert line.post(line.says()).status_code == 200
        assert line.texts() == ["שלום"]

    @every_gateway
    def test_without_proof_or_with_anothers_nothing_is_stored(
        self, line: Line, client: FlaskClient, other_shop: Shop, name: str
    ) -> None:
        stranger = Line.make(client, other_shop, name)
        for whose in (None, stranger):
            answer = line.post_unproven(line.says(), whose)
            # At the address that Meta's numbers share the stranger is who they say, elsewhere.
            is_somebody = whose is not None and name == "meta"
            assert answer.status_code == (200 if is_somebody else 401)
        assert line.shop.sessions == other_shop.sessions == []

    @every_gateway
    def test_ones_proof_does_nothing_to_anothers_number(
        self, line: Line, client: FlaskClient, other_shop: Shop, name: str
    ) -> None:
        victim = Line.make(client, other_shop, name)
        answer = line.post(victim.says())
        assert answer.status_code in {200, 401}
        assert line.shop.sessions == other_shop.sessions == []

    @every_gateway
    def test_a_connection_that_was_deleted_believes_nobody(self, line: Line) -> None:
        body = line.says()
        assert line.shop.delete(f"/api/connections/{line.connection['id']}").status_code == 204
        assert line.post(body).status_code == 401


class TestRedelivery:
    @every_gateway
    def test_what_comes_again_and_again_is_stored_once(self, line: Line) -> None:
        bodies = [line.says("one"), line.says("two")]
        for body in [*bodies, *reversed(bodies), *bodies]:
            assert line.post(body).status_code == 200
        assert line.texts() == ["one", "two"]

    @every_gateway
    def test_what_comes_at_one_time_is_stored_once(self, line: Line) -> None:
        body = line.says()
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: line.post(body).status_code, range(6)))
        assert set(answers) == {200}
        assert line.texts() == ["שלום"]


class TestOwnMessages:
    @with_a_phone
    def test_what_an_agent_types_on_the_phone_is_the_agents_and_does_not_touch(
        self, line: Line
    ) -> None:
        assert line.post(line.says("in stock?")).status_code == 200
        deadline_at = line.shop.sessions[0]["deadline_at"]
        assert line.post(line.says("two left", by="agent")).status_code == 200
        told = [(one["direction"], one["author"], one["text"]) for one in line.messages()]
        assert told == [("in", "customer", "in stock?"), ("out", "agent", "two left")]
        (session,) = line.shop.sessions
        assert (session["deadline_at"], session["message_count"]) == (deadline_at, 2)

    @pytest.mark.parametrize("name", ["baileys", "waha"])
    def test_what_another_program_sent_comes_back_as_the_bots(self, line: Line) -> None:
        sent = Sent(line.gateway.external_id, NOA.phone, "Your order shipped.", "3EB0AA")
        echo = line.gateway.echo_webhook(sent, utc_now())
        assert echo is not None
        for _ in range(2):
            assert line.post(echo.body).status_code == 200
        (message,) = line.messages()
        assert (message["direction"], message["author"]) == ("out", "bot")
        read = line.gateway.status_webhook(sent, Delivery.READ, utc_now())
        assert line.post(read.body).status_code == 200
        assert line.messages()[0]["status"] == "read"

    @every_gateway
    def test_a_status_of_a_message_nobody_knows_is_taken_and_opens_nothing(
        self, line: Line
    ) -> None:
        sent = Sent(line.gateway.external_id, NOA.phone, "x", "3EB0AB")
        body = line.gateway.status_webhook(sent, Delivery.READ, utc_now()).body
        assert line.post(body).status_code == 200
        assert line.shop.sessions == []


class TestWhateverABodyHolds:
    @every_gateway
    def test_every_sample_is_taken(self, sampled: Line, name: str) -> None:
        for sample in GATEWAYS[name].samples:
            assert sampled.post(sample.body).status_code == 200, sample.name

    @every_gateway
    def test_however_a_sample_is_broken_it_is_our_fault_never(
        self, sampled: Line, name: str
    ) -> None:
        try_broken(sampled, name, 25)

    @pytest.mark.slow
    @every_gateway
    def test_however_many_are_broken_it_is_our_fault_never(self, sampled: Line, name: str) -> None:
        try_broken(sampled, name, 2_000)

    @with_lists
    def test_what_has_an_unknown_type_costs_no_neighbour(self, line: Line, name: str) -> None:
        kept = []
        for number, kind in enumerate(["brand_new_type", None, 7, [], {}]):
            texts = [f"before {number}", f"after {number}"]
            before, after = (json.loads(line.says(text)) for text in texts)
            stranger = json.loads(line.says("what nobody knows"))
            holder = holder_of_kind(name, stranger)
            if "type" in holder:
                holder["type"] = kind
            else:
                holder["message"] = {str(kind): {"text": "what nobody knows"}}
            assert line.post(batch(name, [before, stranger, after])).status_code == 200
            kept += texts
        assert [one for one in line.texts() if one in kept] == kept

    @with_lists
    def test_a_huge_batch_is_stored_whole(self, line: Line, name: str) -> None:
        one = json.loads(line.says("again"))
        bodies = [numbered(name, one, number) for number in range(400)]
        assert line.post(batch(name, bodies)).status_code == 200
        (session,) = line.shop.sessions
        assert session["message_count"] == 400

    @with_lists
    def test_an_empty_batch_is_taken_and_opens_nothing(self, line: Line, name: str) -> None:
        for body in empty_batches(name):
            assert line.post(json.dumps(body).encode()).status_code == 200, body
        assert line.shop.sessions == []

    @with_lists
    def test_what_nobody_can_read_is_400(self, line: Line) -> None:
        for body in UNREADABLE:
            answer = line.post(body)
            assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")

    @every_gateway
    def test_a_body_over_4_mb_is_413(self, line: Line) -> None:
        assert line.post(b" " * (LIMIT + 1), **{"Content-Type": "x/y"}).status_code == 413

    @every_gateway
    def test_our_own_trouble_is_503_so_that_it_comes_again(
        self, line: Line, services: WebServices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = line.says()
        assert line.post(line.says("before")).status_code == 200
        with monkeypatch.context() as patch:

            def fail(*_: object, **__: object) -> None:
                raise DatabaseUnavailable("away")

            patch.setattr(type(services.intake), "record", fail)
            answer = line.post(body)
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert line.post(body).status_code == 200
        assert line.texts() == ["before", "שלום"]


def try_broken(line: Line, name: str, number: int) -> None:
    """Post broken samples between good ones; no answer is a 5xx and no good one is lost."""
    samples = GATEWAYS[name].samples

    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(broken_samples(samples) | broken_bytes(samples))
    def run(body: bytes) -> None:
        # A form whose bytes are no text cannot be signed by Twilio either.
        assert line.post(body).status_code in {200, 400, 401 if name == "twilio" else 200}

    run()
    assert line.post(good_one(name)).status_code == 200
    found = line.shop.get(f"/api/sessions?customer_wa_id={GOOD_NUMBER}").json["items"]
    assert [one["message_count"] for one in found] == [1]


def good_one(name: str) -> bytes:
    """Return a plain text of a customer who wrote nothing else."""
    sample = next(one for one in GATEWAYS[name].samples if one.name in PLAIN_TEXTS)
    (expected,) = sample.expect
    body = sample.body.replace(expected["customer_id"].encode(), GOOD_NUMBER.encode())
    return body.replace(expected["provider_message_id"].encode(), b"A" * 34)


def holder_of_kind(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return what says of which type a gateway's message is."""
    holder: dict[str, Any] = {
        "meta": lambda: document["entry"][0]["changes"][0]["value"]["messages"][0],
        "baileys": lambda: document["data"],
        "waha": lambda: document["payload"],
    }[name]()
    return holder


def batch(name: str, documents: list[dict[str, Any]]) -> bytes:
    """Put several requests of a gateway into one, as it does when it brings many."""
    whole: Any = documents
    if name == "meta":
        whole = {**documents[0], "entry": [one["entry"][0] for one in documents]}
    elif name == "baileys":
        whole = {**documents[0], "data": [one["data"] for one in documents]}
    return json.dumps(whole).encode()


def empty_batches(name: str) -> list[Any]:
    return {
        "meta": [{}, {"entry": []}, {"entry": [{"changes": []}]}, {"entry": None}, []],
        "baileys": [{}, [], {"event": "messages.upsert", "data": []}, {"data": None}],
        "waha": [{}, [], [{}], [None], {"event": "message.any", "payload": None}],
    }[name]


def numbered(name: str, document: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the same message under an id of its own."""
    again = copy.deepcopy(document)
    if name == "meta":
        again["entry"][0]["changes"][0]["value"]["messages"][0]["id"] = f"wamid.{number}"
    elif name == "baileys":
        again["data"]["key"]["id"] = f"AC{number}"
    else:
        again["payload"]["id"] = f"false_{NOA.phone}@c.us_AC{number}"
    return again
