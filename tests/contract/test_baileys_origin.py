from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from tests.contract.baileys_payloads import TOKEN
from tests.contract.origin_suite import BODY, OriginSuite
from tests.contract.sample_files import vectors_of
from timer_service import clock
from timer_service.providers.baileys import PROVIDER
from timer_service.providers.baileys_proof import is_evolution_jwt
from timer_service.providers.base import WebhookRequest

VECTORS = vectors_of("evolution")
JWT_KEY = "a-jwt-key-of-at-least-thirty-two-bytes"


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_a_jwt_vector_is_judged_as_stated(vector: dict[str, Any]) -> None:
    verdict = is_evolution_jwt(vector["jwt"], VECTORS["key"], now_s=vector["now"])
    assert verdict is vector["valid"]


class TestOriginByPath(OriginSuite):
    provider = PROVIDER
    secrets = {"token": TOKEN}  # noqa: RUF012
    proof_header = None
    is_body_covered = False

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        return WebhookRequest(body=body, path_parts=(secrets["token"],))

    def test_an_event_name_may_follow_the_token(self) -> None:
        request = WebhookRequest(body=BODY, path_parts=(TOKEN, "messages-upsert"))
        assert PROVIDER.is_authentic(request, self.secrets)

    @pytest.mark.parametrize("parts", [(), ("messages-upsert",), ("x", TOKEN), ("", TOKEN)])
    def test_only_the_first_part_may_be_the_token(self, parts: tuple[str, ...]) -> None:
        request = WebhookRequest(body=BODY, path_parts=parts)
        assert not PROVIDER.is_authentic(request, self.secrets)


class TestOriginByApikey(OriginSuite):
    provider = PROVIDER
    secrets = {"token": TOKEN}  # noqa: RUF012
    proof_header: str | None = "apikey"
    is_body_covered = False

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        assert self.proof_header
        return WebhookRequest(body=body, headers={self.proof_header: secrets["token"]})


class TestOriginByInternalSecret(TestOriginByApikey):
    proof_header = "x-internal-secret"


class TestOriginByBareAuthorization(TestOriginByApikey):
    proof_header = "authorization"


class TestOriginByBearer(OriginSuite):
    provider = PROVIDER
    secrets = {"token": TOKEN}  # noqa: RUF012
    proof_header = "authorization"
    is_body_covered = False

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        return WebhookRequest(body=body, headers={"authorization": f"Bearer {secrets['token']}"})

    def test_the_scheme_may_be_written_small(self) -> None:
        request = WebhookRequest(body=BODY, headers={"authorization": f"bearer  {TOKEN}"})
        assert PROVIDER.is_authentic(request, self.secrets)


def evolution_jwt(key: str, *, now_s: float, **claims: Any) -> str:
    """Make a JWT as Evolution does; a claim given as None is left out."""
    made = {"iat": int(now_s), "exp": int(now_s) + 600, "app": "evolution", "action": "webhook"}
    named = {name: value for name, value in (made | claims).items() if value is not None}
    payload = json.dumps(named).encode()
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    signed = head + b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    hs256 = jwt.get_algorithm_by_name("HS256")
    signature = base64.urlsafe_b64encode(hs256.sign(signed, key.encode())).rstrip(b"=")
    return (signed + b"." + signature).decode()


class TestOriginByJwt(OriginSuite):
    provider = PROVIDER
    secrets = {"jwt_key": JWT_KEY}  # noqa: RUF012
    proof_header = "authorization"
    is_body_covered = False

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        token = evolution_jwt(secrets["jwt_key"], now_s=clock.epoch_s())
        return WebhookRequest(body=body, headers={"authorization": f"Bearer {token}"})

    def test_the_key_itself_is_no_proof(self) -> None:
        for header in (JWT_KEY, f"Bearer {JWT_KEY}"):
            request = WebhookRequest(
                body=BODY, headers={"authorization": header, "apikey": JWT_KEY}
            )
            assert not PROVIDER.is_authentic(request, self.secrets)

    def test_either_secret_is_enough_where_both_are_set(self) -> None:
        secrets = {"token": TOKEN, "jwt_key": JWT_KEY}
        request = self.genuine(secrets)
        assert PROVIDER.is_authentic(request, secrets)
        static = replace(request, headers={"authorization": f"Bearer {TOKEN}"})
        assert PROVIDER.is_authentic(static, secrets)

    @pytest.mark.parametrize(
        ("offset_s", "valid"), [(-29, True), (-31, False), (0, True), (629, True), (631, False)]
    )
    def test_it_holds_ten_minutes_and_half_a_minute_of_skew(
        self, offset_s: int, valid: bool
    ) -> None:
        token = evolution_jwt(JWT_KEY, now_s=1767261600)
        assert is_evolution_jwt(token, JWT_KEY, now_s=1767261600 + offset_s) is valid

    @pytest.mark.parametrize(
        "claims",
        [
            {"app": "other"},
            {"app": None},
            {"action": "login"},
            {"action": None},
            {"exp": None},
            {"exp": True},
            {"exp": "1767262200"},
            {"exp": {}},
            {"exp": [1767262200]},
        ],
        ids=str,
    )
    def test_a_wrong_or_missing_claim_is_refused(self, claims: dict[str, Any]) -> None:
        token = evolution_jwt(JWT_KEY, now_s=1767261600, **claims)
        assert not is_evolution_jwt(token, JWT_KEY, now_s=1767261600)

    @pytest.mark.parametrize(
        "header",
        [
            b"[" * 5_000,
            b"[]",
            b"null",
            b'{"alg":"none"}',
            b'{"alg":"HS512"}',
            b'{"alg":["HS256"]}',
            b'{"alg":{}}',
            b'{"alg":"HS256","crit":["exp"]}',
            b'{"alg":"HS256","crit":{}}',
            b'{"alg":"HS256","kid":7}',
            b'{"alg":"HS256","b64":false}',
            b'{"alg":"RS256"}',
            b"\xff",
        ],
    )
    def test_a_hostile_header_is_refused_and_raises_nothing(self, header: bytes) -> None:
        rest = evolution_jwt(JWT_KEY, now_s=1767261600).partition(".")[2]
        token = f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{rest}"
        assert not is_evolution_jwt(token, JWT_KEY, now_s=1767261600)

    def test_a_key_that_looks_like_a_certificate_is_refused_and_raises_nothing(self) -> None:
        pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
        token = evolution_jwt(JWT_KEY, now_s=1767261600)
        assert not is_evolution_jwt(token, pem, now_s=1767261600)
