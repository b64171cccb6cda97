"""Files at WAHA: at the path a webhook names, on the host that the connection names.

The host in the webhook is the container's own idea of itself (``localhost:3000``) unless it was set
up, so it is never called. WAHA deletes files after three minutes unless it is told otherwise.
Source: waha.devlike.pro, receive messages, July 2026.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from timer_service.providers.fetching import FetchRequest, WantedFile, foreign, nowhere
from timer_service.providers.sending import Account

_FILES = "/api/files/"


class WahaMedia:
    """The ``MediaSource`` of WAHA."""

    hosts: tuple[str, ...] = ()
    gone: frozenset[int] = frozenset({404, 410})

    def ask(self, wanted: WantedFile, account: Account) -> FetchRequest:
        """Make ``GET /api/files/…``."""
        if not wanted.media.url:
            raise nowhere()
        key = {"X-Api-Key": account.secret("api_key")} if "api_key" in account.secrets else {}
        return FetchRequest(account.url(_path(wanted.media.url)), key, wanted.media)


SOURCE = WahaMedia()


def _path(url: str) -> str:
    """Return the path of a file, behind whatever path WAHA itself is published under.

    Raises:
        MediaTrouble: it is none of a file: the key opens more than files.
    """
    try:
        path = urlsplit(url).path
    except ValueError:
        raise foreign() from None
    _, found, name = path.partition(_FILES)
    steps = unquote(unquote(name)).replace("\\", "/").split("/")
    if not found or {"", ".", ".."} & set(steps) or not path.isascii() or not path.isprintable():
        raise foreign()
    return f"{_FILES}{name}"
