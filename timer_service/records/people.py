"""People and the browsers they are signed in with. Passwords and tokens are here as hashes only.

Rows that are over are deleted a few at a time by whoever writes a new one, so no keeper is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, text

from timer_service.tables import people

_SWEPT_WITH_EACH = 20


def add(db: Connection, values: dict[str, Any]) -> None:
    """Insert a person.

    Raises:
        sqlalchemy.exc.IntegrityError: the e-mail address has an account already.
    """
    db.execute(insert(people).values(values))


def find(db: Connection, email: str) -> RowMapping | None:
    """Return the person with this address, which is in small letters."""
    query = text("SELECT id, email, name, password_hash FROM people WHERE email = :email")
    return db.execute(query, {"email": email}).mappings().one_or_none()


def get(db: Connection, person_id: UUID) -> RowMapping | None:
    """Return one person."""
    query = text("SELECT id, email, name, password_hash FROM people WHERE id = :id")
    return db.execute(query, {"id": person_id}).mappings().one_or_none()


def is_there_any(db: Connection) -> bool:
    """Tell whether anybody has an account."""
    return bool(db.execute(text("SELECT EXISTS (SELECT FROM people)")).scalar_one())


def change_password(db: Connection, person_id: UUID, old_hash: str, new_hash: str) -> bool:
    """Change a password; False where it was changed meanwhile."""
    result = db.execute(
        text("""
            UPDATE people SET password_hash = :new, password_changed_at = clock_timestamp()
            WHERE id = :id AND password_hash = :old"""),
        {"id": person_id, "old": old_hash, "new": new_hash},
    )
    return result.rowcount == 1


def set_password(db: Connection, person_id: UUID, new_hash: str) -> None:
    """Give a person another password, whatever theirs was."""
    db.execute(
        text("""
            UPDATE people SET password_hash = :new, password_changed_at = clock_timestamp()
            WHERE id = :id"""),
        {"id": person_id, "new": new_hash},
    )


def rehash(db: Connection, person_id: UUID, old_hash: str, new_hash: str) -> None:
    """Store the same password hashed anew, unless it was changed meanwhile."""
    db.execute(
        text("UPDATE people SET password_hash = :new WHERE id = :id AND password_hash = :old"),
        {"id": person_id, "old": old_hash, "new": new_hash},
    )


def put_reset(db: Connection, person_id: UUID, digest: bytes, lasts: timedelta) -> None:
    """Keep the link by which a person may choose a new password; the one before is void."""
    db.execute(
        text("""
            INSERT INTO password_resets (person_id, digest, ends_at)
            VALUES (:id, :digest, clock_timestamp() + CAST(:lasts AS interval))
            ON CONFLICT (person_id) DO UPDATE
              SET digest = excluded.digest, ends_at = excluded.ends_at"""),
        {"id": person_id, "digest": digest, "lasts": lasts},
    )


def find_reset(db: Connection, digest: bytes) -> RowMapping | None:
    """Return whose link this is, as long as it holds."""
    query = text("""
        SELECT p.id, p.email, p.name FROM password_resets r JOIN people p ON p.id = r.person_id
        WHERE r.digest = :digest AND r.ends_at > clock_timestamp()""")
    return db.execute(query, {"digest": digest}).mappings().one_or_none()


def take_reset(db: Connection, digest: bytes) -> UUID | None:
    """Use a link up; None where it does not hold any more."""
    query = text("""
        DELETE FROM password_resets WHERE digest = :digest AND ends_at > clock_timestamp()
        RETURNING person_id""")
    return db.execute(query, {"digest": digest}).scalar_one_or_none()


def begin_sign_in(
    db: Connection, person_id: UUID, password_hash: str, digest: bytes, lasts: timedelta
) -> bool:
    """Sign a browser in; False where the password is not that one any more."""
    _forget_ended(db, "sign_ins", "digest")
    result = db.execute(
        text("""
            INSERT INTO sign_ins (digest, person_id, ends_at)
            SELECT :digest, id, clock_timestamp() + CAST(:lasts AS interval)
            FROM people WHERE id = :id AND password_hash = :hash FOR SHARE"""),
        {"digest": digest, "id": person_id, "hash": password_hash, "lasts": lasts},
    )
    return result.rowcount == 1


def find_sign_in(
    db: Connection, digest: bytes, *, idle: timedelta, noted_every: timedelta
) -> RowMapping | None:
    """Return who is signed in with this token; ``is_stale`` where that ought to be noted again."""
    query = text("""
        SELECT p.id, p.email, p.name,
          s.seen_at < clock_timestamp() - CAST(:noted_every AS interval) AS is_stale
        FROM sign_ins s JOIN people p ON p.id = s.person_id
        WHERE s.digest = :digest AND s.ends_at > clock_timestamp()
          AND s.seen_at > clock_timestamp() - CAST(:idle AS interval)""")
    values = {"digest": digest, "idle": idle, "noted_every": noted_every}
    return db.execute(query, values).mappings().one_or_none()


def note_seen(db: Connection, digest: bytes) -> None:
    """Note that somebody is there; a crash of Postgres may forget it."""
    db.execute(text("SELECT set_config('synchronous_commit', 'off', true)"))
    db.execute(
        text("UPDATE sign_ins SET seen_at = clock_timestamp() WHERE digest = :digest"),
        {"digest": digest},
    )


def end_sign_in(db: Connection, digest: bytes) -> None:
    """Sign one browser out."""
    db.execute(text("DELETE FROM sign_ins WHERE digest = :digest"), {"digest": digest})


def end_sign_ins(db: Connection, person_id: UUID, *, but: bytes = b"") -> int:
    """Sign a person out everywhere, or everywhere else; return of how many browsers."""
    return db.execute(
        text("DELETE FROM sign_ins WHERE person_id = :id AND digest <> :but"),
        {"id": person_id, "but": but},
    ).rowcount


def count_tries(db: Connection, subjects: Sequence[bytes], window: timedelta) -> list[RowMapping]:
    """Count one more try of each subject; return how many each has, and when they are forgotten."""
    _forget_ended(db, "sign_in_tries", "subject")
    counted = text("""
        INSERT INTO sign_in_tries AS t (subject, tries, ends_at)
        VALUES (:subject, 1, clock_timestamp() + CAST(:window AS interval))
        ON CONFLICT (subject) DO UPDATE SET
          tries = CASE WHEN t.ends_at <= clock_timestamp() THEN 1 ELSE t.tries + 1 END,
          ends_at = CASE WHEN t.ends_at <= clock_timestamp() THEN excluded.ends_at
            ELSE t.ends_at END
        RETURNING tries, extract(epoch FROM ends_at - clock_timestamp()) AS left_s""")
    # In one order, so that two who try at once never wait for each other.
    found = {
        subject: db.execute(counted, {"subject": subject, "window": window}).mappings().one()
        for subject in sorted(subjects)
    }
    return [found[subject] for subject in subjects]


def forget_tries(db: Connection, subject: bytes) -> None:
    """Count a subject's tries from nothing again."""
    db.execute(text("DELETE FROM sign_in_tries WHERE subject = :subject"), {"subject": subject})


def _forget_ended(db: Connection, table: str, key: str) -> None:
    db.execute(
        text(f"""
            DELETE FROM {table} WHERE {key} IN (
              SELECT {key} FROM {table} WHERE ends_at < clock_timestamp()
              ORDER BY ends_at LIMIT {_SWEPT_WITH_EACH} FOR UPDATE SKIP LOCKED)""")
    )
