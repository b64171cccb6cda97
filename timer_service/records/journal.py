"""The journal of each business: notable events, newest first, of the last weeks.

``note_in_journal`` (in the schema) keeps it short: whatever adds an entry deletes what is too old.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId


def note(
    db: Connection,
    business_id: BusinessId,
    kind: str,
    *,
    actor_kind: str,
    actor_id: UUID | None = None,
    subject_id: UUID | None = None,
    detail: str = "",
) -> None:
    """Add an entry, unless the business is gone."""
    db.execute(
        text("""
            SELECT note_in_journal(id, :kind, :actor_kind, CAST(:actor_id AS uuid),
              CAST(:subject_id AS uuid), :detail)
            FROM businesses WHERE id = :business_id AND erased_at IS NULL"""),
        {
            "business_id": business_id,
            "kind": kind,
            "actor_kind": actor_kind,
            "actor_id": actor_id,
            "subject_id": subject_id,
            "detail": detail,
        },
    )


def list_page(
    db: Connection, business_id: BusinessId, *, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[RowMapping]:
    """Return entries, newest first, with the names of those they are about where still known."""
    position = "AND (j.at, j.id) < (:before_at, :before_id)" if before else ""
    query = text(f"""
        SELECT j.id, j.at, j.kind, j.actor_kind, j.detail, j.subject_id,
          coalesce(p.name, k.name) AS actor_name,
          coalesce(sp.name, sk.name, nullif(sc.name, ''), sc.external_id) AS subject_name
        FROM journal j
        LEFT JOIN people p ON j.actor_kind = 'person' AND p.id = j.actor_id
        LEFT JOIN api_keys k
          ON j.actor_kind = 'key' AND k.id = j.actor_id AND k.business_id = j.business_id
        LEFT JOIN people sp ON sp.id = j.subject_id
        LEFT JOIN api_keys sk ON sk.id = j.subject_id AND sk.business_id = j.business_id
        LEFT JOIN connections sc ON sc.id = j.subject_id AND sc.business_id = j.business_id
        WHERE j.business_id = :business_id {position}
        ORDER BY j.at DESC, j.id DESC LIMIT :limit""")
    values = {"business_id": business_id, "limit": limit}
    if before is not None:
        values |= {"before_at": before[0], "before_id": before[1]}
    return db.execute(query, values).mappings().all()
