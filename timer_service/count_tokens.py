"""Tokens for browsers: each shows one business's active-chats number for a while. Pure.

Whoever has one reads that number and nothing else. Nothing is stored: a token says itself whose it
is, until when, and in which pages it is good.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from cryptography.fernet import InvalidToken

from timer_service.clock import epoch_s
from timer_service.derived_keys import fernet_for
from timer_service.ids import BusinessId

PREFIX = "tsc_"
_LABEL = b"timer-service: tokens that show a count"


@dataclass(frozen=True, slots=True)
class CountToken:
    """What a token allows. No origins: good in any page."""

    business_id: BusinessId
    expires_at: datetime
    origins: tuple[str, ...] = ()

    def is_good_in(self, origin: str | None) -> bool:
        """Tell whether a page of this origin may show the number; no page's programs always may."""
        return origin is None or not self.origins or origin in self.origins


class CountTokens:
    """Makes and reads tokens; of the encryption keys the first makes, all read."""

    def __init__(self, encryption_keys: Sequence[str]) -> None:
        self._fernet = fernet_for(_LABEL, encryption_keys)

    def make(
        self, business_id: BusinessId, *, lasts_s: int, origins: Sequence[str] = ()
    ) -> tuple[str, datetime]:
        """Return a token, ``tsc_…``, and when it ends."""
        now_s = int(epoch_s())
        told = {
            "business_id": str(business_id),
            "until_s": now_s + lasts_s,
            "origins": list(origins),
        }
        sealed = self._fernet.encrypt_at_time(json.dumps(told).encode(), now_s)
        return PREFIX + sealed.decode(), datetime.fromtimestamp(now_s + lasts_s, UTC)

    def read(self, token: str) -> CountToken | None:
        """Return what a token allows; None if we did not make it, or it has ended."""
        if not token.startswith(PREFIX):
            return None
        try:
            told = json.loads(self._fernet.decrypt(token.removeprefix(PREFIX).encode()))
        except InvalidToken:
            return None
        if epoch_s() >= told["until_s"]:
            return None
        return CountToken(
            BusinessId(UUID(told["business_id"])),
            datetime.fromtimestamp(told["until_s"], UTC),
            tuple(told["origins"]),
        )
