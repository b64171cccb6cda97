"""What a provider's media module must offer, and which addresses a file may come from.

One module per gateway has a `MediaSource`: it makes the requests that lead to a file, with the
gateway's own credentials, and opens no connection: `media_fetch` does. What a webhook says of an
address is somebody's word: it is followed only to the gateway that the connection names, or to the
provider's own hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import Media
from timer_service.providers.json_body import JsonObject
from timer_service.providers.sending import Account

_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class WantedFile:
    """The file of one message, by all that is known of it."""

    provider_message_id: str
    media: Media


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A request on the way to a file; ``media`` is what must turn out to be true of it.

    ``follow`` makes the next one, where a JSON object is answered that tells where the file is.
    ``is_base64``: a JSON object is answered that has the file in its member ``base64``.
    ``may_redirect``: to any public host over https, to which nothing of the headers goes.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    media: Media
    method: str = "GET"
    body: bytes | None = field(default=None, repr=False)
    follow: Callable[[JsonObject], FetchRequest] | None = None
    is_base64: bool = False
    may_redirect: bool = False


class MediaSource(Protocol):
    """How one gateway gives files away."""

    hosts: tuple[str, ...]
    """The provider's own, beside the connection's ``base_url``; with a dot before: and below."""
    gone: frozenset[int]
    """The statuses by which it says that it has the file no longer."""

    def ask(self, wanted: WantedFile, account: Account) -> FetchRequest:
        """Make the first request.

        Raises:
            CannotSend: the connection lacks an address or a secret.
            MediaTrouble: the message does not say enough.
        """
        ...


def is_gateways_own(url: str, account: Account) -> bool:
    """Tell whether an address has the scheme, host and port of the connection's ``base_url``."""
    return bool(account.base_url) and _origin(url) == _origin(account.base_url)


def check_address(url: str, account: Account, hosts: tuple[str, ...]) -> bool:
    """Tell whether an address may be a private one: an operator named its host.

    Raises:
        MediaTrouble: it is neither the gateway's nor the provider's.
    """
    if is_gateways_own(url, account):
        return True
    parts = _split(url)
    host = (parts.hostname or "").lower() if parts else ""
    is_known = any(
        host == one.removeprefix(".") or (one.startswith(".") and host.endswith(one))
        for one in hosts
    )
    if not is_known or not is_plain_https(url):
        raise foreign()
    return False


def is_plain_https(url: str) -> bool:
    """Tell whether an address is https on its own port, with a name and without a login."""
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme == "https"
        and bool(parts.hostname)
        and parts.port in {None, 443}
        and parts.username is None
    )


def foreign() -> MediaTrouble:
    """Make the error of an address that is followed by nobody."""
    return MediaTrouble(
        Reason.GATEWAY_FAILED, "the file is said to be at an address that is not the gateway's"
    )


def nowhere() -> MediaTrouble:
    """Make the error of a file that no gateway said how to get."""
    return MediaTrouble(Reason.GONE, "the gateway did not tell how to get this file")


def _origin(url: str) -> tuple[str, str, int] | None:
    parts = _split(url)
    if parts is None or parts.username is not None or not parts.hostname:
        return None
    port = parts.port or _PORTS.get(parts.scheme)
    return None if port is None else (parts.scheme, parts.hostname.lower(), port)


def _split(url: str) -> SplitResult | None:
    # What another reader of addresses might read in another way is none.
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme in _PORTS else None
