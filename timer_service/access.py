"""Keys: how they are made, and whose key a caller presents.

A business's key is ``tsk_`` and 256 random bits, the admin's ``tsa_``; only SHA-256 digests are
stored. A digest is looked up by an index, so nothing secret is compared byte by byte.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import BusinessId, new_id
from timer_service.messages import Role
from timer_service.records import access
from timer_service.resources import ApiKey

_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: whoever holds a key, or a person who signed in.

    The admin belongs to no business and has no key row. A person is asked for one business at a
    time, with the role in that one; where it is about none, as a viewer of nothing.
    """

    role: Role
    business_id: BusinessId | None = None
    key_id: UUID | None = None
    person_id: UUID | None = None

    def may(self, least: Role) -> bool:
        """Tell whether the caller's role reaches ``least``."""
        return _RANKS[self.role] >= _RANKS[least]

    def may_see(self, business_id: UUID) -> bool:
        """Tell whether the caller may know of a business."""
        return self.role is Role.ADMIN or self.business_id == business_id


def make_key(prefix: str = "tsk") -> str:
    """Make a new key of 256 random bits."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


class Keys:
    """Makes, reads and revokes keys."""

    def __init__(self, database: Database, admin_key: str | None) -> None:
        self._database = database
        self._admin_digest = digest_of(admin_key) if admin_key else None

    def who_has(self, key: str) -> Caller | None:
        """Return whose key this is; None for no key of ours.

        Raises:
            DatabaseUnavailable: it could not be looked up.
        """
        digest = digest_of(key)
        if self._admin_digest and hmac.compare_digest(digest, self._admin_digest):
            return Caller(Role.ADMIN)
        with self._database.transaction() as db:
            found = access.find_key(db, digest)
            admin_digest = self._read_admin_digest(db) if found is None else None
        if found is not None:
            if found["is_stale"]:
                with suppress(DatabaseUnavailable), self._database.transaction() as db:
                    access.note_used(db, found["id"])
            return Caller(Role(found["role"]), found["business_id"], found["id"])
        if admin_digest and hmac.compare_digest(digest, admin_digest):
            return Caller(Role.ADMIN)
        return None

    def admin_fingerprint(self) -> str | None:
        """Return a mark of the present admin key: what was signed in by another key is void."""
        with self._database.transaction() as db:
            digest = self._read_admin_digest(db)
        return hashlib.sha256(b"admin key " + digest).hexdigest() if digest else None

    def _read_admin_digest(self, db: Connection) -> bytes | None:
        if self._admin_digest is not None:
            return self._admin_digest
        install = access.read_install(db)
        return install["admin_key_digest"] if install else None

    def holder_of(self, key_id: UUID) -> Caller | None:
        """Return whose key this id names, as long as it is not revoked."""
        with self._database.transaction() as db:
            found = access.get_key(db, key_id)
        if found is None:
            return None
        return Caller(Role(found["role"]), found["business_id"], found["id"])

    def name_of(self, caller: Caller) -> str:
        """Return the name of a caller's key, for what it writes; its role where it has none."""
        with self._database.transaction() as db:
            found = access.get_key(db, caller.key_id) if caller.key_id is not None else None
        return (found["name"] if found else "") or caller.role.value

    def add(self, business_id: BusinessId, role: Role, name: str = "") -> tuple[UUID, str]:
        """Make a key for a business; return its id and, this once, the key."""
        key = make_key()
        key_id = new_id()
        with self._database.transaction() as db:
            access.add_key(
                db,
                {
                    "id": key_id,
                    "business_id": business_id,
                    "role": role.value,
                    "name": name,
                    "digest": digest_of(key),
                },
            )
        return key_id, key

    def keys_of(self, business_id: BusinessId, *, before: UUID | None, limit: int) -> list[ApiKey]:
        """Return a business's keys, newest first, the revoked ones too."""
        with self._database.transaction() as db:
            rows = access.list_page(db, business_id, before=before, limit=limit)
        return [ApiKey.of(row) for row in rows]

    def revoke(self, business_id: BusinessId, key_id: UUID) -> bool:
        """Revoke a key; False if there is none."""
        with self._database.transaction() as db:
            return access.revoke_key(db, business_id, key_id)
