"""Businesses and their connections: made, changed, taken away.

The API and the shell commands call this. It never talks to a gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from psycopg.errors import UniqueViolation
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError

from timer_service.access import Keys
from timer_service.closing import Completion
from timer_service.database import Database
from timer_service.eraser import Eraser
from timer_service.errors import (
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
)
from timer_service.ids import BusinessId, ConnectionId, new_id
from timer_service.messages import ProviderName, Role
from timer_service.records import businesses, connections, erasing
from timer_service.resources import Business, Connection
from timer_service.secret_box import SecretBox

ERASE_AT_ONCE_S = 0.25
"""How long whoever erases a business waits for its rows to go."""

_FITS_A_PATH = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")
"""Tokens that stand in a path as they are; any other is sent in a header."""


class Administration:
    """Manages tenants."""

    def __init__(
        self,
        database: Database,
        *,
        keys: Keys,
        secret_box: SecretBox,
        completion: Completion,
        eraser: Eraser,
        public_url: str,
        idle_gap_s: int,
    ) -> None:
        self._database = database
        self._keys = keys
        self._secret_box = secret_box
        self._completion = completion
        self._eraser = eraser
        self._public_url = public_url.rstrip("/")
        self._idle_gap_s = idle_gap_s

    def add_business(self, values: Mapping[str, Any]) -> tuple[Business, str]:
        """Make a business; return it and, this once, its manager key."""
        row = {"idle_gap_s": self._idle_gap_s, **values, "id": new_id()}
        with self._database.transaction() as db:
            business = Business.of(businesses.add(db, row))
        _, key = self._keys.add(BusinessId(business.id), Role.MANAGER, "made with the business")
        return business, key

    def list_businesses(self, *, before: UUID | None, limit: int) -> list[Business]:
        """Return businesses, newest first."""
        with self._database.transaction() as db:
            return [
                Business.of(row) for row in businesses.list_page(db, before=before, limit=limit)
            ]

    def business(self, business_id: UUID) -> Business:
        """Return one business.

        Raises:
            NotFound: there is none.
        """
        with self._database.transaction() as db:
            row = businesses.get(db, business_id)
        if row is None:
            raise NotFound(f"there is no business {business_id}")
        return Business.of(row)

    def change_business(self, business_id: BusinessId, values: Mapping[str, Any]) -> Business:
        """Change settings. A changed idle gap applies from each chat's next touch.

        Raises:
            NotFound: there is none.
            InvalidInput: ``default_connection_id`` names none of its connections.
        """
        if not values:
            return self.business(business_id)
        default = values.get("default_connection_id")
        with self._database.transaction() as db:
            # Held, so that one that is deleted just now does not become the default after it.
            if default is not None and not connections.hold(db, business_id, default):
                raise InvalidInput(
                    "expected one of the business's own connections", field="default_connection_id"
                )
            row = businesses.change(db, business_id, dict(values))
        if row is None:
            raise NotFound(f"there is no business {business_id}")
        return Business.of(row)

    def erase_business(self, business_id: BusinessId) -> None:
        """Erase a business and everything of it.

        From then on nobody sees any of it. The rows of a small one are gone at once, those of a
        large one soon (`Eraser`).

        Raises:
            NotFound: there is none.
        """
        with self._database.transaction() as db:
            if not erasing.mark_business(db, business_id):
                raise NotFound(f"there is no business {business_id}")
        with suppress(DatabaseUnavailable):
            self._eraser.erase_business(business_id, within_s=ERASE_AT_ONCE_S)

    def add_connection(
        self,
        business_id: BusinessId,
        *,
        provider: ProviderName,
        external_id: str,
        name: str = "",
        base_url: str | None = None,
        secrets: Mapping[str, str],
    ) -> Connection:
        """Connect an account. The gateway itself is not called.

        Raises:
            NotFound: there is no such business.
            Conflict: the account is connected already.
        """
        self.business(business_id)
        connection_id = ConnectionId(new_id())
        values = {
            "id": connection_id,
            "business_id": business_id,
            "provider": provider.value,
            "external_id": external_id,
            "name": name,
            "base_url": _normal_url(base_url),
            "secrets": self._secret_box.seal(business_id, connection_id, secrets),
        }
        try:
            with self._database.transaction() as db:
                row = connections.add(db, values)
        except IntegrityError as error:
            raise _conflict(error, provider) from None
        return self._resource(row)

    def list_connections(
        self, business_id: BusinessId, *, before: UUID | None, limit: int
    ) -> list[Connection]:
        """Return a business's connections, newest first."""
        with self._database.transaction() as db:
            rows = connections.list_page(db, business_id, before=before, limit=limit)
        return [self._resource(row) for row in rows]

    def connection(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Return one connection.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            row = connections.get(db, business_id, connection_id)
        if row is None:
            raise NotFound(f"there is no connection {connection_id}")
        return self._resource(row)

    def change_connection(
        self, business_id: BusinessId, connection_id: UUID, values: Mapping[str, Any]
    ) -> Connection:
        """Change name, address or secrets; secrets are added to those that are there.

        Raises:
            NotFound: there is none in this business.
            Conflict: another connection has that account.
        """
        changes = dict(values)
        new_secrets = changes.pop("secrets", None)
        if "base_url" in changes:
            changes["base_url"] = _normal_url(changes["base_url"])
        with self._database.transaction() as db:
            row = connections.get(db, business_id, connection_id)
            if row is None:
                raise NotFound(f"there is no connection {connection_id}")
            if new_secrets:
                held = self._secret_box.open(business_id, row["id"], row["secrets"])
                changes["secrets"] = self._secret_box.seal(
                    business_id, row["id"], held | new_secrets
                )
            try:
                if changes:
                    row = connections.change(db, business_id, connection_id, changes)
            except IntegrityError as error:
                raise _conflict(error, None) from None
        if row is None:
            raise NotFound(f"there is no connection {connection_id}")
        return self._resource(row)

    def delete_connection(self, business_id: BusinessId, connection_id: UUID) -> None:
        """Take a connection out of use; its open sessions close as completed, its rows stay.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            if not connections.mark_deleted(db, business_id, connection_id):
                raise NotFound(f"there is no connection {connection_id}")
        self._completion.close_connection(business_id, connection_id)

    def connections_by_status(self) -> list[tuple[str, str, str, int]]:
        """Return how many connections of all are of each provider, status and reason."""
        with self._database.transaction() as db:
            return connections.count_by_status(db)

    def _resource(self, row: RowMapping) -> Connection:
        return Connection.of(row, self._webhook_url(row))

    def _webhook_url(self, row: RowMapping) -> str:
        provider = row["provider"]
        if provider == ProviderName.META.value:
            return f"{self._public_url}/webhooks/meta"
        address = f"{self._public_url}/webhooks/{provider}/{row['id']}"
        if provider == ProviderName.BAILEYS.value and row["deleted_at"] is None:
            try:
                secrets = self._secret_box.open(row["business_id"], row["id"], row["secrets"])
            except ConfigurationError:
                return address  # one connection whose key was lost must not hide the others
            token = secrets.get("token", "")
            if _FITS_A_PATH.fullmatch(token):
                return f"{address}/{token}"
        return address


def _normal_url(base_url: str | None) -> str:
    return (base_url or "").rstrip("/")


def _conflict(error: IntegrityError, provider: ProviderName | None) -> Exception:
    if not isinstance(error.orig, UniqueViolation):
        return error
    where = " of this provider" if provider is None else f" at {provider.value}"
    return Conflict(f"this account{where} is connected already")
