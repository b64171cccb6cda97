"""What is worth knowing afterwards of a business: who changed what, who signed in, what broke.

Surfaces note what they did after it is done; one that dies in between leaves an entry out. Entries
hold ids and words of ours, an invited address at most, and never a secret or what customers wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import structlog

from timer_service.access import Caller
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import BusinessId
from timer_service.messages import Role
from timer_service.records import journal

log = structlog.get_logger(__name__)


class EventKind(StrEnum):
    """What an entry tells; stored, so a word once used stays."""

    CONNECTION_STATUS = "connection_status"
    CONNECTION_ADDED = "connection_added"
    CONNECTION_CHANGED = "connection_changed"
    CONNECTION_REMOVED = "connection_removed"
    SETTINGS_CHANGED = "settings_changed"
    KEY_MADE = "key_made"
    KEY_REVOKED = "key_revoked"
    USER_INVITED = "user_invited"
    INVITATION_WITHDRAWN = "invitation_withdrawn"
    USER_JOINED = "user_joined"
    USER_SIGNED_IN = "user_signed_in"
    USER_ROLE_CHANGED = "user_role_changed"
    USER_REMOVED = "user_removed"
    SUMMARY_PARKED = "summary_parked"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; names are None where nobody knows them any more."""

    id: UUID
    at: datetime
    kind: str
    actor_kind: str
    actor_name: str | None
    subject_id: UUID | None
    subject_name: str | None
    detail: str


class Journal:
    """Notes and lists entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self,
        business_id: BusinessId,
        kind: EventKind,
        by: Caller,
        *,
        subject_id: UUID | None = None,
        detail: str = "",
    ) -> None:
        """Note what somebody did; with Postgres away it is told to the log and forgotten."""
        actor_kind, actor_id = _actor_of(by)
        try:
            with self._database.transaction() as db:
                journal.note(
                    db,
                    business_id,
                    kind.value,
                    actor_kind=actor_kind,
                    actor_id=actor_id,
                    subject_id=subject_id,
                    detail=detail,
                )
        except DatabaseUnavailable:
            log.warning("not_noted", kind=kind.value, business_id=str(business_id))

    def entries(
        self, business_id: BusinessId, *, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Entry]:
        """Return entries, newest first."""
        with self._database.transaction() as db:
            rows = journal.list_page(db, business_id, before=before, limit=limit)
        return [Entry(**row) for row in rows]


def _actor_of(caller: Caller) -> tuple[str, UUID | None]:
    if caller.person_id is not None:
        return "person", caller.person_id
    if caller.role is Role.ADMIN:
        return "admin", None
    return "key", caller.key_id
