"""An in-memory copy of the connections, with their secrets opened, for checking origins.

The webhooks ask it before anything else. A copy may be a second old; whoever does not find what it
looks for reads afresh first, so a new connection works at once and a removed one is gone within a
second. While Postgres is away the copy serves on, up to an hour: nothing can change there then.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import RowMapping

from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import ConfigurationError, DatabaseUnavailable
from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import ProviderName
from timer_service.records import connections
from timer_service.secret_box import SecretBox

log = structlog.get_logger(__name__)

MAX_AGE_S = 1.0
SERVES_S = 3600.0
"""How old a copy may be while Postgres is away: no connection changes then, unless it is away to us
alone."""
WARM_S = 30.0
_TURN_WITHIN_S = 0.3


@dataclass(frozen=True, slots=True)
class KnownConnection:
    """A connection as the webhooks need it."""

    id: ConnectionId
    business_id: BusinessId
    provider: ProviderName
    external_id: str
    own_number: str | None
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Copy:
    by_id: dict[UUID, KnownConnection]
    read_at_s: float

    @property
    def may_serve(self) -> bool:
        return monotonic_s() - self.read_at_s < SERVES_S


class ConnectionDirectory:
    """Answers which connections there are."""

    def __init__(self, database: Database, secret_box: SecretBox) -> None:
        self._database = database
        self._secret_box = secret_box
        self._copies: dict[ProviderName, _Copy] = {}
        self._lock = threading.Lock()

    def of_provider(
        self, provider: ProviderName, *, fresh: bool = False
    ) -> dict[UUID, KnownConnection]:
        """Return a provider's connections by id, at most a second old, or read just now.

        Callers who want it fresh at one time share one reading, so a flood of forged requests
        costs one query after another, not one each. Without ``fresh`` an older copy serves while
        it cannot be read.

        Raises:
            DatabaseUnavailable: they could not be read, and no copy may serve.
        """
        copy = self._copies.get(provider)
        if not fresh and copy is not None and monotonic_s() - copy.read_at_s < MAX_AGE_S:
            return copy.by_id
        serving = copy if not fresh and copy is not None and copy.may_serve else None
        asked_at_s = monotonic_s()
        # Who has a copy that may serve does not wait for another's reading of a newer one.
        if not self._lock.acquire(timeout=0 if serving else _TURN_WITHIN_S):
            if serving is None:
                raise DatabaseUnavailable("no turn to read the connections in time")
            return serving.by_id
        try:
            newest = self._copies.get(provider)
            is_recent = newest is not copy and not fresh
            if newest is not None and (is_recent or newest.read_at_s >= asked_at_s):
                return newest.by_id
            return self._read(provider)
        except DatabaseUnavailable:
            if serving is None:
                raise
            return serving.by_id
        finally:
            self._lock.release()

    def keep_warm(self) -> None:
        """Read what nobody asked for lately: when Postgres goes there must be a copy.

        Raises:
            DatabaseUnavailable: it is away; what there is serves on.
        """
        for provider in ProviderName:
            copy = self._copies.get(provider)
            if copy is None or monotonic_s() - copy.read_at_s > WARM_S:
                self.of_provider(provider)

    def _read(self, provider: ProviderName) -> dict[UUID, KnownConnection]:
        began_at_s = monotonic_s()
        with self._database.transaction() as db:
            rows = connections.list_of_provider(db, provider)
        known = {row["id"]: self._known(row) for row in rows}
        self._copies[provider] = _Copy(known, began_at_s)
        return known

    def _known(self, row: RowMapping) -> KnownConnection:
        business_id, connection_id = row["business_id"], row["id"]
        try:
            secrets = self._secret_box.open(business_id, connection_id, row["secrets"])
        except ConfigurationError:
            # One connection whose key was lost must not stop the others; it proves nothing.
            log.exception("secrets_do_not_open", connection_id=str(connection_id))
            secrets = {}
        return KnownConnection(
            id=connection_id,
            business_id=business_id,
            provider=ProviderName(row["provider"]),
            external_id=row["external_id"],
            own_number=row["own_number"],
            secrets=secrets,
        )
