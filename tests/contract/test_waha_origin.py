from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.origin_suite import BODY, OriginSuite
from tests.contract.sample_files import vectors_of
from timer_service.providers.base import WebhookRequest
from timer_service.providers.waha import PROVIDER

VECTORS = vectors_of("waha")


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_a_signature_vector_is_judged_as_stated(vector: dict[str, Any]) -> None:
    request = WebhookRequest(
        body=vector["body"].encode(), headers={"x-webhook-hmac": vector["signature"]}
    )
    assert PROVIDER.is_authentic(request, {"hmac_key": VECTORS["key"]}) is vector["valid"]


class TestOrigin(OriginSuite):
    provider = PROVIDER
    secrets = {"hmac_key": "a-key-of-this-session"}  # noqa: RUF012
    proof_header = "x-webhook-hmac"
    is_body_covered = True

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        return WebhookRequest(body=body, headers={"x-webhook-hmac": signed(secrets, body)})

    @pytest.mark.parametrize("named", ["sha512", "sha1", "sha256", "none", "", "é"])
    def test_the_request_does_not_choose_the_algorithm(self, named: str) -> None:
        genuine = self.genuine(self.secrets)
        algorithm = {"x-webhook-hmac-algorithm": named}
        request = replace(genuine, headers={**genuine.headers, **algorithm})
        assert PROVIDER.is_authentic(request, self.secrets)
        for weaker in ("sha1", "sha256", "md5"):
            forged = {"x-webhook-hmac": signed(self.secrets, BODY, weaker), **algorithm}
            assert not PROVIDER.is_authentic(replace(request, headers=forged), self.secrets)

    def test_the_api_key_proves_nothing(self) -> None:
        secrets = {"api_key": "for-sending"}
        forged = signed({"hmac_key": "for-sending"}, BODY)
        request = WebhookRequest(body=BODY, headers={"x-webhook-hmac": forged})
        assert not PROVIDER.is_authentic(request, secrets)
        assert not PROVIDER.is_authentic(request, secrets | self.secrets)


def signed(secrets: dict[str, str], body: bytes, algorithm: str = "sha512") -> str:
    return hmac.new(secrets["hmac_key"].encode(), body, getattr(hashlib, algorithm)).hexdigest()
