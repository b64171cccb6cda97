from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.origin_suite import BODY, OriginSuite
from tests.contract.sample_files import form_of, sample_bytes, vectors_of
from tests.support.twilio_requests import FORM, signature, twilio_headers
from timer_service.providers.base import WebhookRequest
from timer_service.providers.twilio import PROVIDER

VECTORS = vectors_of("twilio")
URL = "https://timer.example/webhooks/twilio/1?shop=carmel&x=%2F"
TOKEN = "an-auth-token"
SECRETS = {"auth_token": TOKEN}


def request_of(
    body: bytes, *, signed_url: str = URL, url: str = URL, token: str = TOKEN
) -> WebhookRequest:
    """Make a form's request that was signed for one address and came to another."""
    headers = {k.lower(): v for k, v in twilio_headers(signed_url, body, token).items()}
    return WebhookRequest(body=body, headers=headers, url=url)


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_a_signature_vector_is_judged_as_stated(vector: dict[str, Any]) -> None:
    if "raw_body" in vector:
        body, content_type = vector["raw_body"].encode(), "application/json"
    elif "form_body_file" in vector:
        body, content_type = sample_bytes(vector["form_body_file"]), FORM
    else:
        body = vector.get("form_body", "").encode() or form_of(vector["params"])
        content_type = f"{FORM}; charset=UTF-8"
    request = WebhookRequest(
        body=body,
        headers={"x-twilio-signature": vector["signature"], "content-type": content_type},
        query={"bodySHA256": vector["url"].rpartition("bodySHA256=")[2]},
        url=vector["url"],
    )
    assert PROVIDER.is_authentic(request, {"auth_token": VECTORS["auth_token"]}) is vector["valid"]
    other = {"auth_token": VECTORS["auth_token"] + "6"}
    assert not PROVIDER.is_authentic(request, other)


class TestOriginOfForms(OriginSuite):
    provider = PROVIDER
    secrets = SECRETS
    proof_header = "x-twilio-signature"
    is_body_covered = True

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        return request_of(body, token=next(iter(secrets.values())))


class TestOriginBySecondaryToken(TestOriginOfForms):
    secrets = {"secondary_auth_token": TOKEN}  # noqa: RUF012

    def test_either_token_is_enough_where_both_are_held(self) -> None:
        both = {"auth_token": "the-old-one", "secondary_auth_token": TOKEN}
        for token in both.values():
            assert PROVIDER.is_authentic(request_of(BODY, token=token), both)


class TestOriginOfJson(OriginSuite):
    provider = PROVIDER
    secrets = SECRETS
    proof_header = "x-twilio-signature"
    is_body_covered = True

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        digest = hashlib.sha256(body).hexdigest()
        url = f"{URL}&bodySHA256={digest}"
        proof = signature(url, next(iter(secrets.values())))
        return WebhookRequest(
            body=body,
            headers={"x-twilio-signature": proof, "content-type": "application/json"},
            query={"bodySHA256": digest},
            url=url,
        )

    @pytest.mark.parametrize("digest", ["", "0" * 64, "é", None])
    def test_without_the_bodys_own_hash_a_signed_url_proves_nothing(
        self, digest: str | None
    ) -> None:
        query = {} if digest is None else {"bodySHA256": digest}
        url = f"{URL}&bodySHA256={digest}"
        headers = {
            "x-twilio-signature": signature(url, TOKEN),
            "content-type": "application/json",
        }
        request = WebhookRequest(body=BODY, headers=headers, query=query, url=url)
        assert not PROVIDER.is_authentic(request, self.secrets)

    def test_a_form_is_never_excused_by_a_hash_in_the_address(self) -> None:
        request = self.genuine(self.secrets)
        for content_type in (FORM, FORM.upper(), f"{FORM};charset=utf-8", ""):
            headers = {**request.headers, "content-type": content_type}
            assert not PROVIDER.is_authentic(replace(request, headers=headers), self.secrets)


class TestAddress:
    @pytest.mark.parametrize(
        ("signed", "called"),
        [
            ("https://timer.example/a?b=1", "https://timer.example/a?b=1"),
            ("https://timer.example:443/a?b=1", "https://timer.example/a?b=1"),
            ("https://timer.example/a?b=1", "https://timer.example:8443/a?b=1"),
            ("https://timer.example:8443/a?b=1", "https://timer.example:8443/a?b=1"),
            ("http://timer.example:80/a", "http://timer.example/a"),
            ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
            ("http://[::1]/a", "http://[::1]:8080/a"),
            ("http://[::1]:80/a", "http://[::1]/a"),
            ("https://timer.example:443/a?to=b:1", "https://timer.example/a?to=b:1"),
            ("https://timer.example:443", "https://timer.example"),
            ("https://timer.example/a?", "https://timer.example/a?"),
        ],
    )
    def test_it_may_be_signed_with_or_without_its_port(self, signed: str, called: str) -> None:
        request = request_of(b"Body=hello", signed_url=signed, url=called)
        assert PROVIDER.is_authentic(request, SECRETS)

    @pytest.mark.parametrize(
        "signed",
        [
            "http://timer.example/webhooks/twilio/1?shop=carmel&x=%2F",
            "https://other.example/webhooks/twilio/1?shop=carmel&x=%2F",
            "https://timer.example/webhooks/twilio/1/?shop=carmel&x=%2F",
            "https://timer.example/webhooks/twilio/2?shop=carmel&x=%2F",
            "https://timer.example/webhooks/twilio/1?x=%2F&shop=carmel",
            "https://timer.example/webhooks/twilio/1?shop=carmel&x=/",
            "https://timer.example/webhooks/twilio/1",
            "https://timer.example:8443/webhooks/twilio/1?shop=carmel&x=%2F",
            "",
        ],
    )
    def test_otherwise_it_counts_to_the_letter(self, signed: str) -> None:
        assert PROVIDER.is_authentic(request_of(b"Body=hello"), SECRETS)
        assert not PROVIDER.is_authentic(request_of(b"Body=hello", signed_url=signed), SECRETS)

    @pytest.mark.parametrize("url", ["", "timer", "https://", "https://\ud800/", "ftp://x/", "\n"])
    def test_an_absurd_one_is_refused_and_raises_nothing(self, url: str) -> None:
        assert not PROVIDER.is_authentic(replace(request_of(b"a=b"), url=url), SECRETS)


class TestForms:
    @pytest.mark.parametrize(
        "changed",
        [
            b"Body=hello+there&To=x",
            b"Body=+hello+there&To=x&Blank=",
            b"Body=hello+there+&To=x&Blank=",
            b"Body=hello+there&To=x&Blank=+",
            b"Body=hello+there&To=x&Blank=&More=",
            b"body=hello+there&To=x&Blank=",
            b"Body=hello%20there&Body=hello&To=x&Blank=",
            b"Body=hello+there&To=x&Blank=&" + b"&".join([b"x=y"] * 1_000),
        ],
    )
    def test_a_field_added_dropped_or_trimmed_is_noticed(self, changed: bytes) -> None:
        request = request_of(b"Body=hello+there&To=x&Blank=")
        assert PROVIDER.is_authentic(request, SECRETS)
        assert not PROVIDER.is_authentic(replace(request, body=changed), SECRETS)

    @pytest.mark.parametrize(
        "same",
        [
            b"To=x&Blank=&Body=hello+there",
            b"Body=hello%20there&To=%78&Blank=",
            b"Body=hello+there&Body=hello+there&To=x&Blank",
            b"&&Body=hello+there&To=x&&Blank=&",
        ],
    )
    def test_order_escapes_and_repetition_are_not_signed(self, same: bytes) -> None:
        request = replace(request_of(b"Body=hello+there&To=x&Blank="), body=same)
        assert PROVIDER.is_authentic(request, SECRETS)

    @pytest.mark.parametrize(
        "body", [b"\xff", b"%ff=%fe", b"%", b"%zz=%4", b"a=%ED%A0%80", b"=", b"%00=%00", b";=;"]
    )
    def test_bytes_that_are_no_text_are_signed_as_they_are(self, body: bytes) -> None:
        signed = URL.encode() + b"".join(
            one.replace(b"%ff", b"\xff").replace(b"%fe", b"\xfe").replace(b"%00", b"\x00")
            .replace(b"%ED%A0%80", b"\xed\xa0\x80")
            for one in body.split(b"=")
        )  # fmt: skip
        proof = signature_of_bytes(signed)
        request = WebhookRequest(body=body, headers={"x-twilio-signature": proof}, url=URL)
        assert PROVIDER.is_authentic(request, SECRETS)
        assert not PROVIDER.is_authentic(replace(request, body=body + b"x"), SECRETS)

    def test_more_fields_than_twilio_ever_sends_prove_nothing(self) -> None:
        fields = [f"f{number}=x" for number in range(1_000)]
        enough = "&".join(fields).encode()
        assert PROVIDER.is_authentic(request_of(enough), SECRETS)
        assert not PROVIDER.is_authentic(request_of(enough + b"&one=more"), SECRETS)


def signature_of_bytes(signed: bytes) -> str:
    return signature(signed.decode("latin-1"), TOKEN, encoding="latin-1")
