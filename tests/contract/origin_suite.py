"""What every provider's proof of origin must withstand. Each provider's tests inherit it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from timer_service.providers.base import Provider, WebhookRequest

BODY = b'{"event":"messages.upsert","object":"whatsapp_business_account"}'
HOSTILE_VALUES = [
    "",
    " ",
    "é",
    "\ud800",
    "sha256=",
    "sha256=é",
    "Bearer",
    "Bearer ",
    "Bearer é",
    "Bearer a.b.c",
    "Basic Og==",
    "None",
    "null",
    "\x00",
    "a" * 100_000,
]


class OriginSuite:
    """Set the four class attributes and say how a genuine request is made."""

    provider: Provider
    secrets: dict[str, str]
    proof_header: str | None
    is_body_covered: bool

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        raise NotImplementedError

    def proof_removed(self, request: WebhookRequest) -> WebhookRequest:
        return replace(request, headers={}, path_parts=())

    def with_proof(self, request: WebhookRequest, value: str) -> WebhookRequest:
        if self.proof_header is None:
            return replace(request, path_parts=(value,))
        return replace(request, headers={**request.headers, self.proof_header: value})

    def test_a_genuine_request_is_authentic(self) -> None:
        assert self.provider.is_authentic(self.genuine(self.secrets), self.secrets)

    def test_a_genuine_request_with_an_empty_body_is_authentic(self) -> None:
        assert self.provider.is_authentic(self.genuine(self.secrets, b""), self.secrets)

    def test_a_request_without_proof_is_not(self) -> None:
        request = self.proof_removed(self.genuine(self.secrets))
        assert not self.provider.is_authentic(request, self.secrets)

    def test_a_proof_made_with_another_connections_secret_is_not(self) -> None:
        others = {name: f"another-{value}" for name, value in self.secrets.items()}
        assert not self.provider.is_authentic(self.genuine(others), self.secrets)
        assert self.provider.is_authentic(self.genuine(others), others)

    def test_without_any_secret_nothing_is_authentic(self) -> None:
        assert not self.provider.is_authentic(self.genuine(self.secrets), {})

    @pytest.mark.parametrize("empty", ["", None])
    def test_an_empty_secret_authenticates_nothing(self, empty: Any) -> None:
        nothing = dict.fromkeys(self.secrets, empty)
        assert not self.provider.is_authentic(self.genuine(self.secrets), nothing)
        forged = self.genuine(dict.fromkeys(self.secrets, ""))
        assert not self.provider.is_authentic(forged, nothing)
        for value in HOSTILE_VALUES:
            request = self.with_proof(self.genuine(self.secrets), value)
            assert not self.provider.is_authentic(request, nothing)

    @pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: ascii(value)[:20])
    def test_a_malformed_proof_is_refused_and_raises_nothing(self, value: str) -> None:
        request = self.with_proof(self.genuine(self.secrets), value)
        assert not self.provider.is_authentic(request, self.secrets)

    @pytest.mark.parametrize("change", ["drop_last", "append", "change_case", "pad"])
    def test_a_proof_that_is_almost_right_is_refused(self, change: str) -> None:
        request = self.genuine(self.secrets)
        proof = request.headers[self.proof_header] if self.proof_header else request.path_parts[0]
        altered = {
            "drop_last": proof[:-1],
            "append": proof + "0",
            "change_case": proof.swapcase(),
            "pad": proof + "\x00",
        }[change]
        assert not self.provider.is_authentic(self.with_proof(request, altered), self.secrets)

    def test_a_secret_that_is_not_ascii_works(self) -> None:
        secrets = dict.fromkeys(self.secrets, "schlüssel-שלום-😀-long-enough-for-a-key")
        request = self.genuine(secrets)
        assert self.provider.is_authentic(request, secrets)
        assert not self.provider.is_authentic(request, self.secrets)

    def test_a_secret_of_a_few_characters_works(self) -> None:
        secrets = dict.fromkeys(self.secrets, "k3y")
        assert self.provider.is_authentic(self.genuine(secrets), secrets)

    def test_changing_any_byte_of_the_body_is_noticed_where_the_body_is_signed(self) -> None:
        request = self.genuine(self.secrets)
        verdicts = {
            self.provider.is_authentic(
                replace(request, body=BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]),
                self.secrets,
            )
            for at in range(len(BODY))
        }
        assert verdicts == {not self.is_body_covered}

    def test_a_proof_in_the_query_or_in_the_body_counts_for_nothing(self) -> None:
        query = {**self.secrets, "apikey": next(iter(self.secrets.values()))}
        body = repr(query).replace("'", '"').encode()
        request = WebhookRequest(body=body, query=query, url="https://example.com/?x")
        assert not self.provider.is_authentic(request, self.secrets)

    def test_the_secrets_a_provider_names_are_the_ones_it_uses(self) -> None:
        assert self.secrets.keys() <= self.provider.secret_names
