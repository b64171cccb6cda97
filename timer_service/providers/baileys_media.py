"""Files behind the Evolution API, which decrypts them and answers with base64.

The address in WhatsApp's own content leads to encrypted bytes, and that of a bucket to a host that
no connection names: neither is used. Source: evolution-api 2.3.7, chat controller, August 2026.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from timer_service.providers.fetching import FetchRequest, WantedFile
from timer_service.providers.sending import Account


class BaileysMedia:
    """The ``MediaSource`` of Baileys behind the Evolution API."""

    hosts: tuple[str, ...] = ()
    gone: frozenset[int] = frozenset(
        {400, 410}
    )  # "Message not found", or WhatsApp has it no longer

    def ask(self, wanted: WantedFile, account: Account) -> FetchRequest:
        """Make ``POST /chat/getBase64FromMediaMessage/{instance}``."""
        instance = quote(account.external_id, safe="")
        message = {"key": {"id": wanted.provider_message_id}}
        return FetchRequest(
            account.url(f"/chat/getBase64FromMediaMessage/{instance}"),
            {"apikey": account.secret("api_key"), "Content-Type": "application/json"},
            wanted.media,
            "POST",
            json.dumps({"message": message, "convertToMp4": False}).encode(),
            is_base64=True,
        )


SOURCE = BaileysMedia()
