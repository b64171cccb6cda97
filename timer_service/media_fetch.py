"""Gets one file from its gateway into a draft, and checks that it is what was announced.

Called by `media_library`. Where it may go is decided here, for every request on the way: the
gateway that the connection names, the provider's own hosts, and where a provider redirects, any
public host over https, with nothing of the credentials. Never more than a part of a file is held.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin

import httpx2

from timer_service.base64_member import NoFile, decode_member
from timer_service.clock import monotonic_s
from timer_service.errors import MalformedPayload
from timer_service.guarded_http import (
    BrokenOff,
    GuardedHttp,
    NotAllowed,
    NotReached,
    TooSlow,
    chunks,
)
from timer_service.media_files import Draft
from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import Media
from timer_service.providers.fetching import (
    FetchRequest,
    MediaSource,
    WantedFile,
    check_address,
    foreign,
    is_plain_https,
)
from timer_service.providers.json_body import as_object, read_json
from timer_service.providers.sending import Account, CannotSend

TOTAL_TIMEOUT_S = 120.0
MOST_REDIRECTS = 3
LARGEST_DOCUMENT = 64 * 1024
AWAY_FOR_S = 10
"""When to ask again a gateway that was not reached, or has too much to do."""
LONGEST_WAIT_S = 3600
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)
_SHA256_BYTES = 32
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_LOCKED_OUT = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class MediaFetcher:
    """Fetches files; keeps nothing between two of them."""

    def __init__(self, http: GuardedHttp) -> None:
        self._http = http

    def fetch(
        self, source: MediaSource, wanted: WantedFile, account: Account, draft: Draft
    ) -> None:
        """Write the whole file to the draft, which is then to be published.

        Raises:
            MediaTrouble: it cannot be had, or is not what was announced.
        """
        way = _Way(self._http, source, account, monotonic_s() + TOTAL_TIMEOUT_S)
        try:
            request = source.ask(wanted, account)
            _reserve(draft, request.media)
            while request.follow is not None:
                document = bytearray()
                way.take(request, document.extend, most_bytes=LARGEST_DOCUMENT)
                request = request.follow(as_object(read_json(bytes(document))))
                _reserve(draft, request.media)
            way.take(request, draft.write)
        except CannotSend as error:
            raise MediaTrouble(Reason.NOT_CONNECTED, str(error)) from None
        except (BrokenOff, NotAllowed, NoFile, MalformedPayload) as error:
            raise MediaTrouble(Reason.GATEWAY_FAILED, f"the gateway: {error}") from None
        except NotReached as error:
            raise MediaTrouble(
                Reason.GATEWAY_AWAY, f"the gateway: {error}", retry_after_s=AWAY_FOR_S
            ) from None
        except TooSlow as error:
            raise MediaTrouble(Reason.GATEWAY_SLOW, f"the gateway: {error}") from None
        _check(draft, request.media)


@dataclass(frozen=True, slots=True)
class _Way:
    """From the first request to the file."""

    http: GuardedHttp
    source: MediaSource
    account: Account
    ends_at_s: float

    def take(
        self, request: FetchRequest, write: Callable[[bytes], None], most_bytes: int | None = None
    ) -> None:
        """Hand on what is answered to a request, wherever its provider sends it."""
        url, headers = request.url, request.headers
        may_be_private = check_address(url, self.account, self.source.hosts)
        for _ in range(MOST_REDIRECTS + 1):
            with self.http.ask(
                request.method,
                url,
                headers,
                request.body,
                may_be_private=may_be_private,
                ends_at_s=self.ends_at_s,
            ) as response:
                if not (request.may_redirect and response.has_redirect_location):
                    _refuse_faults(response, self.source)
                    _write_all(request, response, write, most_bytes)
                    return
                url = _joined(url, response.headers["Location"])
            if not is_plain_https(url):
                raise foreign()
            headers, may_be_private = {}, False
        raise MediaTrouble(Reason.GATEWAY_FAILED, "the gateway redirects without end")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise foreign() from None


def _write_all(
    request: FetchRequest,
    response: httpx2.Response,
    write: Callable[[bytes], None],
    most_bytes: int | None,
) -> None:
    parts: Iterable[bytes] = chunks(response)
    if request.is_base64:
        parts = decode_member(parts)
    taken = 0
    for part in parts:
        taken += len(part)
        if most_bytes is not None and taken > most_bytes:
            raise BrokenOff(f"over {most_bytes} bytes, where a few lines were expected")
        write(part)


def _refuse_faults(response: httpx2.Response, source: MediaSource) -> None:
    status = response.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and status != HTTPStatus.NO_CONTENT:
        return
    if status in _BUSY:
        raise MediaTrouble(
            Reason.GATEWAY_AWAY,
            "the gateway has too much to do",
            retry_after_s=_asked_to_wait_s(response) or AWAY_FOR_S,
        )
    if status in source.gone:
        raise MediaTrouble(Reason.GONE, "the gateway has this file no longer")
    if status in _LOCKED_OUT:
        raise MediaTrouble(
            Reason.NOT_CONNECTED, "the gateway refuses the credentials of the connection"
        )
    raise MediaTrouble(Reason.GATEWAY_FAILED, f"the gateway answered {status}")


def _reserve(draft: Draft, announced: Media) -> None:
    """Refuse at once what says itself that it is too large, and make room for the rest."""
    if announced.size_bytes:
        draft.reserve(announced.size_bytes)


def _check(draft: Draft, announced: Media) -> None:
    if announced.size_bytes is not None and announced.size_bytes != draft.size_bytes:
        raise MediaTrouble(
            Reason.GATEWAY_FAILED,
            f"{announced.size_bytes} bytes were announced, {draft.size_bytes} came",
        )
    digest = _digest_of(announced.sha256)
    if digest is not None and not hmac.compare_digest(digest, draft.sha256.digest()):
        raise MediaTrouble(Reason.GATEWAY_FAILED, "the file is not the one that was announced")


def _digest_of(text: str | None) -> bytes | None:
    """Read a SHA-256 as Meta writes it: base64 in a webhook, hexadecimal digits elsewhere."""
    try:
        is_hexadecimal = len(text or "") == 2 * _SHA256_BYTES
        found = bytes.fromhex(text or "") if is_hexadecimal else base64.b64decode(text or "")
    except ValueError:
        return None
    return found if len(found) == _SHA256_BYTES else None


def _asked_to_wait_s(response: httpx2.Response) -> int | None:
    asked = response.headers.get("Retry-After", "")
    return min(int(asked), LONGEST_WAIT_S) if _SECONDS.fullmatch(asked) else None
