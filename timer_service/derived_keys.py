"""Keys for one use each, made of the encryption keys: what one use made, no other takes. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, MultiFernet


def fernet_for(label: bytes, encryption_keys: Sequence[str]) -> MultiFernet:
    """Return what seals and opens for one use; the first key seals, all open."""
    return MultiFernet([Fernet(_derived(key, label)) for key in encryption_keys])


def _derived(key: str, label: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.new(key.encode(), label, hashlib.sha256).digest())
