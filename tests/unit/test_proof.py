"""Comparing secrets: in constant time, and an empty one is nobody's."""

from __future__ import annotations

import hmac

import pytest

from timer_service.providers.proof import is_same_secret


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(*pair: bytes) -> bool:
        compared.append(pair)
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not is_same_secret("secret", "secret")
    assert compared == [(b"secret", b"secret")]


def test_an_empty_secret_is_nobodys() -> None:
    assert is_same_secret("secret", "secret")
    assert not is_same_secret("secret", "Secret")
    assert not is_same_secret("", "")
    assert not is_same_secret(None, None)
