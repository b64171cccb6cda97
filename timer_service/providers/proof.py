"""Comparing secrets, and what was signed with them. Every provider's proof of origin ends here."""

from __future__ import annotations

import hmac
from typing import Literal


def is_same_secret(expected: object, offered: object) -> bool:
    """Tell in constant time whether what was offered is the secret; an empty one never is.

    Compares bytes: ``hmac.compare_digest`` raises on a string that is not ASCII. Lone surrogates
    pass through encoding, so nothing a request can hold raises.
    """
    if not isinstance(expected, str) or not isinstance(offered, str) or not expected:
        return False
    return hmac.compare_digest(
        expected.encode("utf-8", "surrogatepass"), offered.encode("utf-8", "surrogatepass")
    )


def keyed_digest(
    secret: object, content: bytes, algorithm: Literal["sha1", "sha256", "sha512"]
) -> bytes | None:
    """Return the HMAC of what was signed under a secret; None if there is no secret."""
    if not isinstance(secret, str) or not secret:
        return None
    return hmac.digest(secret.encode("utf-8", "surrogatepass"), content, algorithm)
