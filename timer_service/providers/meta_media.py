"""Files at Meta's Cloud API: by their id, which lives 7 days, to an address that lives 5 minutes.

Source: WhatsApp Cloud API, media, August 2026. Redirects are not documented, so none is followed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from urllib.parse import quote

from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import Media
from timer_service.providers.fetching import FetchRequest, WantedFile, nowhere
from timer_service.providers.json_body import ID_LIMIT, JsonObject, as_integer, as_text
from timer_service.providers.meta_sending import BASE_URL
from timer_service.providers.sending import Account

_MEDIA_ID = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
_URL_LIMIT = 4_096


class MetaMedia:
    """The ``MediaSource`` of the Cloud API."""

    hosts: tuple[str, ...] = ("graph.facebook.com", "lookaside.fbsbx.com")
    gone: frozenset[int] = frozenset({400, 404, 410})  # an id that has ended is 400, code 100

    def ask(self, wanted: WantedFile, account: Account) -> FetchRequest:
        """Make ``GET /{media_id}``."""
        media_id = wanted.media.provider_media_id or ""
        if not _MEDIA_ID.fullmatch(media_id):
            raise nowhere()
        account_id = quote(account.external_id, safe="")
        return FetchRequest(
            account.url(f"/{media_id}?phone_number_id={account_id}", BASE_URL),
            _login(account),
            wanted.media,
            follow=partial(_file, wanted.media, account),
        )


SOURCE = MetaMedia()


def _file(known: Media, account: Account, document: JsonObject) -> FetchRequest:
    """Make the request of the file itself, which needs the access token too."""
    url = as_text(document.get("url"), _URL_LIMIT)
    if not url:
        raise MediaTrouble(Reason.GATEWAY_FAILED, "Meta did not tell where the file is")
    told = replace(
        known,
        size_bytes=as_integer(document.get("file_size")) or known.size_bytes,
        sha256=as_text(document.get("sha256"), ID_LIMIT) or known.sha256,
    )
    return FetchRequest(url, _login(account), told)


def _login(account: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.secret('access_token')}"}
