"""Addresses of ours at which a gateway fetches one file, for an hour; nobody can make one up. Pure.

Twilio takes files by address only. Whoever has the address has the file: it goes to Twilio alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from cryptography.fernet import InvalidToken

from timer_service.clock import epoch_s
from timer_service.derived_keys import fernet_for

GOOD_FOR_S = 3600
_LABEL = b"timer-service: addresses of files to be sent"


class MediaLinks:
    """Makes and reads addresses; of the encryption keys the first makes, all read."""

    def __init__(self, encryption_keys: Sequence[str], public_url: str) -> None:
        self._fernet = fernet_for(_LABEL, encryption_keys)
        self._public_url = public_url.rstrip("/")

    def address(self, upload_id: UUID) -> str:
        """Return where a file can be fetched."""
        token = self._fernet.encrypt_at_time(upload_id.bytes, int(epoch_s()))
        return f"{self._public_url}/media/{token.decode()}"

    def read(self, token: str) -> UUID | None:
        """Return which file an address is of; None if we did not make it, or not lately."""
        try:
            told = self._fernet.decrypt_at_time(token.encode(), GOOD_FOR_S, int(epoch_s()))
            return UUID(bytes=told)
        except (InvalidToken, ValueError):
            return None
