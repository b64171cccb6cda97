"""Which people belong to which business, and the invitations to belong to one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId


def businesses_of(db: Connection, person_id: UUID) -> Sequence[RowMapping]:
    """Return the businesses a person belongs to, with the role in each, by name."""
    query = text("""
        SELECT b.id, b.name, m.role FROM members m
        JOIN businesses b ON b.id = m.business_id AND b.erased_at IS NULL
        WHERE m.person_id = :person_id ORDER BY lower(b.name), b.id""")
    return db.execute(query, {"person_id": person_id}).mappings().all()


def list_all(db: Connection, business_id: BusinessId) -> Sequence[RowMapping]:
    """Return a business's people by name, and when each was last seen in the console."""
    query = text("""
        SELECT p.id, p.name, p.email, m.role, m.created_at,
          (SELECT max(s.seen_at) FROM sign_ins s WHERE s.person_id = p.id) AS seen_at
        FROM members m JOIN people p ON p.id = m.person_id
        WHERE m.business_id = :business_id ORDER BY lower(p.name), p.id""")
    return db.execute(query, {"business_id": business_id}).mappings().all()


def put(db: Connection, business_id: UUID, person_id: UUID, role: str) -> None:
    """Make a person a member, or give a member another role."""
    db.execute(
        text("""
            INSERT INTO members (business_id, person_id, role) VALUES (:business_id, :id, :role)
            ON CONFLICT (business_id, person_id) DO UPDATE SET role = excluded.role"""),
        {"business_id": business_id, "id": person_id, "role": role},
    )


def change_role(db: Connection, business_id: BusinessId, person_id: UUID, role: str) -> bool:
    """Give a member another role; False if there is none."""
    result = db.execute(
        text("""
            UPDATE members SET role = :role
            WHERE business_id = :business_id AND person_id = :person_id"""),
        {"business_id": business_id, "person_id": person_id, "role": role},
    )
    return result.rowcount == 1


def remove(db: Connection, business_id: BusinessId, person_id: UUID) -> bool:
    """Take a member out, and forget who belongs to nothing any more; False if there is none."""
    result = db.execute(
        text("DELETE FROM members WHERE business_id = :business_id AND person_id = :person_id"),
        {"business_id": business_id, "person_id": person_id},
    )
    if result.rowcount == 0:
        return False
    forget_strangers(db, [person_id])
    return True


def remove_all(db: Connection, business_id: BusinessId) -> None:
    """Take everybody out of a business that is erased, its invitations too."""
    db.execute(
        text("DELETE FROM invitations WHERE business_id = :business_id"),
        {"business_id": business_id},
    )
    gone = db.execute(
        text("DELETE FROM members WHERE business_id = :business_id RETURNING person_id"),
        {"business_id": business_id},
    )
    forget_strangers(db, list(gone.scalars()))


def forget_strangers(db: Connection, person_ids: Sequence[UUID]) -> None:
    """Delete those of these people who belong to no business."""
    db.execute(
        text("""
            DELETE FROM people WHERE id = ANY(CAST(:ids AS uuid[]))
              AND NOT EXISTS (SELECT FROM members m WHERE m.person_id = people.id)"""),
        {"ids": list(person_ids)},
    )


def put_invitation(db: Connection, values: dict[str, Any], lasts: timedelta) -> None:
    """Keep an invitation; one of the same address to the same business is void."""
    query = text("""
        INSERT INTO invitations (id, business_id, email, role, digest, ends_at)
        VALUES (:id, :business_id, :email, :role, :digest,
          clock_timestamp() + CAST(:lasts AS interval))
        ON CONFLICT (business_id, email) DO UPDATE SET id = excluded.id, role = excluded.role,
          digest = excluded.digest, ends_at = excluded.ends_at, created_at = clock_timestamp()""")
    db.execute(query, {**values, "lasts": lasts})


def list_invitations(db: Connection, business_id: BusinessId) -> Sequence[RowMapping]:
    """Return a business's invitations that hold, newest first."""
    query = text("""
        SELECT id, email, role, ends_at FROM invitations
        WHERE business_id = :business_id AND ends_at > clock_timestamp() ORDER BY id DESC""")
    return db.execute(query, {"business_id": business_id}).mappings().all()


def find_invitation(db: Connection, digest: bytes) -> RowMapping | None:
    """Return an invitation that holds, with its business's name and language."""
    query = text("""
        SELECT i.business_id, i.email, i.role, b.name AS business_name, b.locale,
          EXISTS (SELECT FROM people p WHERE p.email = i.email) AS has_account
        FROM invitations i JOIN businesses b ON b.id = i.business_id AND b.erased_at IS NULL
        WHERE i.digest = :digest AND i.ends_at > clock_timestamp()""")
    return db.execute(query, {"digest": digest}).mappings().one_or_none()


def take_invitation(db: Connection, digest: bytes) -> RowMapping | None:
    """Use an invitation up; None where it does not hold any more."""
    query = text("""
        DELETE FROM invitations i USING businesses b
        WHERE i.digest = :digest AND i.ends_at > clock_timestamp()
          AND b.id = i.business_id AND b.erased_at IS NULL
        RETURNING i.business_id, i.email, i.role""")
    return db.execute(query, {"digest": digest}).mappings().one_or_none()


def withdraw_invitation(db: Connection, business_id: BusinessId, invitation_id: UUID) -> bool:
    """Delete an invitation; False if there is none."""
    result = db.execute(
        text("DELETE FROM invitations WHERE id = :id AND business_id = :business_id"),
        {"id": invitation_id, "business_id": business_id},
    )
    return result.rowcount == 1
