"""Encrypts a connection's secrets, bound to their business and connection.

A ciphertext copied to another row does not open there. Keys rotate: the first encrypts, all
decrypt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from timer_service.errors import ConfigurationError
from timer_service.ids import BusinessId, ConnectionId


class SecretBox:
    """Seals and opens the secrets of connections."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(
        self, business_id: BusinessId, connection_id: ConnectionId, secrets: Mapping[str, str]
    ) -> bytes:
        """Encrypt the secrets of one connection."""
        bound = {
            "business_id": str(business_id),
            "connection_id": str(connection_id),
            "secrets": dict(secrets),
        }
        return self._fernet.encrypt(json.dumps(bound).encode())

    def open(
        self, business_id: BusinessId, connection_id: ConnectionId, sealed: bytes
    ) -> dict[str, str]:
        """Decrypt the secrets of one connection.

        Raises:
            ConfigurationError: no key of ours opens it, or it belongs to another connection.
        """
        try:
            bound = json.loads(self._fernet.decrypt(sealed))
        except InvalidToken:
            raise ConfigurationError(
                f"the secrets of connection {connection_id} do not open: is the key they were "
                "encrypted with still in TIMER_ENCRYPTION_KEYS?"
            ) from None
        if (bound["business_id"], bound["connection_id"]) != (str(business_id), str(connection_id)):
            raise ConfigurationError(f"connection {connection_id} holds another one's secrets")
        secrets: dict[str, str] = bound["secrets"]
        return secrets
