"""Files at Twilio: behind Basic auth, and from there on a public host that is told nothing.

Source: twilio.com/docs, media resource, August 2026.
"""

from __future__ import annotations

import base64

from timer_service.providers.fetching import FetchRequest, WantedFile, nowhere
from timer_service.providers.sending import Account


class TwilioMedia:
    """The ``MediaSource`` of Twilio; its hosts also stand for regions (``api.dublin.ie1…``)."""

    hosts: tuple[str, ...] = (".twilio.com",)
    gone: frozenset[int] = frozenset({404, 410})

    def ask(self, wanted: WantedFile, account: Account) -> FetchRequest:
        """Make ``GET MediaUrl0``."""
        if not wanted.media.url:
            raise nowhere()
        sid = account.external_id.partition(":")[0]
        login = base64.b64encode(f"{sid}:{account.secret('auth_token')}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        return FetchRequest(wanted.media.url, headers, wanted.media, may_redirect=True)


SOURCE = TwilioMedia()
