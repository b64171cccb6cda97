"""Which connection, or which app, a webhook proves to come from.

Who does not prove anything gets None, and the same work is done whether the connection exists or
not. What the directory's copy does not know, or does not believe, is looked up afresh once, so a
new connection or secret works at once. While Postgres is away the copy is believed, and whoever it
does not know at all may be known to Postgres: that is told by an error, not by None.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import UUID

from timer_service.connection_directory import ConnectionDirectory, KnownConnection
from timer_service.errors import DatabaseUnavailable
from timer_service.messages import ProviderName
from timer_service.providers import meta, twilio
from timer_service.providers.base import Provider, WebhookRequest

T = TypeVar("T")
_Look = tuple[T | None, bool]
"""What is proven, and whether whoever was named is known."""

_NOBODY = UUID(int=0)
_NOBODYS_SECRET = secrets.token_urlsafe(32)


def find_connection(
    directory: ConnectionDirectory,
    provider: Provider,
    connection_id: str,
    incoming: WebhookRequest,
) -> KnownConnection | None:
    """Return the connection with this id if the request proves that it speaks for it.

    Raises:
        DatabaseUnavailable: it is not known, and could not be looked up.
    """
    wanted = _as_id(connection_id)

    def look(fresh: bool) -> _Look[KnownConnection]:
        connection = directory.of_provider(provider.name, fresh=fresh).get(wanted)
        held = connection.secrets if connection else _nobodys_secrets(provider)
        is_proven = provider.is_authentic(incoming, held)
        return connection if is_proven else None, connection is not None

    return _look_twice(look)


def find_meta_app(
    directory: ConnectionDirectory, incoming: WebhookRequest
) -> tuple[str, Mapping[str, KnownConnection]] | None:
    """Return the secret of the known app that signed the request, and that app's numbers.

    Raises:
        DatabaseUnavailable: no app is known, and none could be looked up.
    """

    def look(fresh: bool) -> _Look[tuple[str, Mapping[str, KnownConnection]]]:
        apps = meta_apps(directory, fresh=fresh)
        proven = (
            (app_secret, connections)
            for app_secret, connections in apps.items()
            if meta.PROVIDER.is_authentic(incoming, {"app_secret": app_secret})
        )
        return next(proven, None), len(apps) > 1  # nobody's is always there

    return _look_twice(look)


def meta_apps(
    directory: ConnectionDirectory, *, fresh: bool
) -> dict[str, dict[str, KnownConnection]]:
    """Return the known numbers of each app: app secret → phone_number_id → connection."""
    apps: dict[str, dict[str, KnownConnection]] = {_NOBODYS_SECRET: {}}
    for connection in directory.of_provider(ProviderName.META, fresh=fresh).values():
        app_secret = connection.secrets.get("app_secret")
        if app_secret:
            apps.setdefault(app_secret, {})[connection.external_id] = connection
    return apps


def find_twilio_numbers(
    directory: ConnectionDirectory, incoming: WebhookRequest
) -> Mapping[str, KnownConnection] | None:
    """Return the numbers the request proves to speak for, by account; None if it proves nothing.

    It names its number, so that connection's own secret must have signed it. For a number that
    nobody connected, another one of the same Twilio account will do: it acts for nothing then.

    Raises:
        DatabaseUnavailable: the number is not known, and could not be looked up.
    """
    provider = twilio.PROVIDER
    named = twilio.account_of(incoming)

    def look(fresh: bool) -> _Look[Mapping[str, KnownConnection]]:
        known = directory.of_provider(provider.name, fresh=fresh).values()
        asked = [one for one in known if one.external_id == named]
        if fresh and named and not asked:
            siblings = f"{named.partition('+')[0]}+"
            asked = [one for one in known if one.external_id.startswith(siblings)]
        if not asked:
            provider.is_authentic(incoming, _nobodys_secrets(provider))
        proven = {
            one.external_id: one for one in asked if provider.is_authentic(incoming, one.secrets)
        }
        return proven or None, bool(asked)

    return _look_twice(look)


def answer_meta_check(
    directory: ConnectionDirectory, query: Mapping[str, str], connection_id: str | None
) -> str | None:
    """Return the challenge to answer Meta's check with, None to refuse it.

    The token may be any connection's, or must be that of the one named.

    Raises:
        DatabaseUnavailable: no token is known, and none could be looked up.
    """
    wanted = None if connection_id is None else _as_id(connection_id)

    def look(fresh: bool) -> _Look[str]:
        tokens = [
            connection.secrets.get("verify_token", "")
            for connection in directory.of_provider(ProviderName.META, fresh=fresh).values()
            if wanted in {None, connection.id}
        ]
        return meta.verification_answer(query, tokens or [_NOBODYS_SECRET]), bool(tokens)

    return _look_twice(look)


def _look_twice(look: Callable[[bool], _Look[T]]) -> T | None:
    """Look for what is proven in the directory's copy, then afresh; None where nothing is.

    Raises:
        DatabaseUnavailable: whoever is named is not known, and could not be looked up.
    """
    is_known = False
    for fresh in (False, True):
        try:
            found, is_known = look(fresh)
        except DatabaseUnavailable:
            if is_known:
                return None
            raise
        if found is not None:
            return found
    return None


def _nobodys_secrets(provider: Provider) -> Mapping[str, str]:
    return dict.fromkeys(provider.secret_names, _NOBODYS_SECRET)


def _as_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return _NOBODY
