"""What strangers, broken gateways and other tenants send."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import httpx2
import pytest

from tests.support.callers import Business, Caller, Line, customer
from timer_service.demo.meta_number import MetaNumber
from timer_service.messages import ProviderName

TEXT = "is the blue one in stock?"
BIG = b'{"a": "' + b"x" * (4 * 1024 * 1024) + b'"}'


@pytest.fixture
def shop(caller: Caller) -> Business:
    return caller.add_business("Shop", idle_gap_s=600)


def test_wrong_or_missing_proof_is_refused_and_stores_nothing(
    caller: Caller, shop: Business
) -> None:
    meta, evolution = shop.connect(ProviderName.META), shop.connect(ProviderName.BAILEYS)
    signed = meta.webhook(customer(1), TEXT)
    other = meta.webhook(customer(2), TEXT)
    wrong = {"X-Hub-Signature-256": other.headers["X-Hub-Signature-256"]}
    body = evolution.webhook(customer(1), TEXT).body
    known, unknown = evolution.path.rsplit("/", 1)[0], "/webhooks/baileys/no-such-connection"

    def post(path: str, content: bytes, headers: dict[str, Any] | None = None) -> httpx2.Response:
        return caller.http.post(path, content=content, headers=headers or {})

    refused = [
        post(meta.path, signed.body),
        post(meta.path, signed.body, wrong),
        post("/webhooks/meta", signed.body, wrong),
        post("/webhooks/meta", signed.body, {"X-Hub-Signature-256": b"sha256=\xe9"}),
        post(f"{known}/no-such-token", body),
        post(known, body),
        post(f"{unknown}/no-such-token", body),
        post(unknown, body),
    ]

    assert [answer.status_code for answer in refused] == [401] * len(refused)
    assert len({answer.text for answer in refused}) == 1, "refusals tell nothing apart"
    assert shop.sessions() == []


def test_metas_check_is_answered_to_whoever_knows_the_token(caller: Caller, shop: Business) -> None:
    line = shop.connect(ProviderName.META)

    def check(path: str, token: str) -> tuple[int, str]:
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        answer = caller.http.get(path, params=query)
        return answer.status_code, answer.text

    for path in (line.path, "/webhooks/meta"):
        assert check(path, line.gateway.secrets["verify_token"]) == (200, "1158201444")
        status, text = check(path, "wrong")
        assert status == 403
        assert "1158201444" not in text


def test_what_is_no_webhook_at_all_is_never_our_fault(caller: Caller, shop: Business) -> None:
    lines = [shop.connect(ProviderName.META), shop.connect(ProviderName.BAILEYS)]

    for line in lines:
        for body in (*_garbage(), *_broken(line)):
            answer = _post(caller, line, body)
            assert answer.status_code in {200, 400}, (body[:80], answer.text)
        assert line.post(line.webhook(customer(9), TEXT)) == 200, "it still works"
    for path in ("/webhooks/meta/%00", "/webhooks/baileys/%ff/x/y", "/webhooks/none", "/webhooks"):
        assert caller.http.post(path, content=b"{}").status_code in {401, 404}


def test_a_body_over_four_megabytes_is_refused(caller: Caller, shop: Business) -> None:
    for provider in (ProviderName.META, ProviderName.BAILEYS):
        answer = _post(caller, shop.connect(provider), BIG, Connection="close")
        assert answer.status_code == 413


def test_a_secret_is_no_authority_over_another_tenants_number(
    caller: Caller, shop: Business
) -> None:
    rival = caller.add_business("Rival", idle_gap_s=600)
    for provider in (ProviderName.META, ProviderName.BAILEYS):
        own, foreign = shop.connect(provider), rival.connect(provider)
        about_foreign = json.loads(foreign.webhook(customer(1), TEXT).body)

        answer = _post(caller, own, json.dumps(about_foreign).encode())

        assert answer.status_code == 200
        assert rival.sessions() == []
        assert shop.sessions() == []
    answer = caller.call("GET", f"/api/businesses/{rival.id}", key=shop.key)
    assert answer.status_code in {403, 404}


def _post(caller: Caller, line: Line, body: bytes, **more: str) -> httpx2.Response:
    """Post any body with a connection's own valid proof."""
    headers = {"Content-Type": "application/json", **more}
    if isinstance(line.gateway, MetaNumber):
        digest = hmac.new(line.gateway.app_secret.encode(), body, hashlib.sha256).hexdigest()
        headers["X-Hub-Signature-256"] = f"sha256={digest}"
    return caller.http.post(line.path, content=body, headers=headers)


def _garbage() -> list[bytes]:
    return [
        b"",
        b"{",
        b"null",
        b"0",
        b'"text"',
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"1" * 10_000,
        b'{"entry": NaN}',
        b"messages=1&from=2",
        b"<xml/>",
    ]


def _broken(line: Line) -> list[bytes]:
    """Return a real webhook with each of its parts in turn replaced by something else."""
    sample = line.webhook(customer(1), TEXT).body
    junk: list[Any] = [None, [], {}, -1, 1e300, "\x00", "\ud800", "9" * 300]
    places = len(list(_places(json.loads(sample))))
    bodies = []
    for place in range(places):
        document = json.loads(sample)
        holder, name = list(_places(document))[place]
        holder[name] = junk[place % len(junk)]
        bodies.append(json.dumps(document).encode())
    return bodies


def _places(node: Any) -> list[tuple[Any, Any]]:
    entries = list(node.items() if isinstance(node, dict) else enumerate(node))
    found = [(node, name) for name, _ in entries]
    for _, value in entries:
        if isinstance(value, dict | list):
            found += _places(value)
    return found
