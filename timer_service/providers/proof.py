"""Comparing secrets. Every provider's proof of origin ends here."""

from __future__ import annotations

import hmac


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
