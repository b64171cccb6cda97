"""Finding conversations by what was said, by the customer's name or number: one page at a time.

A conversation that is over has one row of words (`session_words`), which `timer_service.indexer`
writes; what goes on, or waits for its summary, is looked through as it is, the latest active first.

A page costs the same whether a word is common or rare: the newest conversations are looked through
in order, which soon fills a page with a common word; only a word too rare for that is asked of the
index, whose matches are few then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId, SessionId
from timer_service.number_forms import typed_endings
from timer_service.records import session_views
from timer_service.records.session_views import Filter

WALKED = 2_000
"""How many conversations are looked through in order before the index is asked."""
UNSETTLED = 300
"""How many that go on, and how many that wait for their summary, are looked through."""
MOST_CONTACTS = 500
"""How many customers of a name or number are looked at, the newest first."""

_WILD = re.compile(r"([\\%_])")
_ESCAPED = r"\\\1"
_NAME_WORDS = """
    (to_tsvector('simple'::regconfig, name) || array_to_tsvector(ARRAY[business_id::text]))
"""
_TEXT = """
    left(concat_ws(' ',
      (SELECT k.name FROM contacts k WHERE k.id = s.contact_id),
      (SELECT concat_ws(' ', m.title, m.text, m.customer, m.asked_for, m.provided, m.next_steps,
         m.follow_up) FROM summaries m WHERE m.session_id = s.id),
      (SELECT string_agg(concat_ws(' ', left(t.text, 5000), t.media ->> 'file_name'), ' ')
       FROM (SELECT text, media FROM messages WHERE session_id = s.id
             ORDER BY placed_at DESC LIMIT 2000) t)), 80000)
"""
"""Of a session ``s``. A tsvector holds a megabyte; so much text, of whatever script, makes less."""


@dataclass(frozen=True, slots=True)
class Words:
    """What somebody typed, as Postgres's own parser splits what is searched."""

    lexemes: tuple[str, ...]

    @property
    def query(self) -> str:
        """A tsquery: each word, or the beginning of one, must be there."""
        quoted = (one.replace("\\", "\\\\").replace("'", "''") for one in self.lexemes)
        return " & ".join(f"'{one}':*" for one in quoted)

    @property
    def letters(self) -> list[str]:
        """A pattern for each word, of what holds its letters anywhere."""
        return [f"%{re.sub(_WILD, _ESCAPED, one)}%" for one in self.lexemes]


def read_words(db: Connection, typed: str) -> Words | None:
    """Split what somebody typed; None where there is no word in it."""
    lexemes = db.execute(
        text("SELECT tsvector_to_array(to_tsvector('simple'::regconfig, :typed))"),
        {"typed": typed},
    ).scalar_one()
    return Words(tuple(lexemes)) if lexemes else None


def list_page(db: Connection, business_id: BusinessId, which: Filter) -> Sequence[RowMapping]:
    """Return sessions, the newest begun first: all, or those somebody searches for."""
    if which.text is None:
        return session_views.list_page(db, business_id, which)
    words, endings = read_words(db, which.text), typed_endings(which.text)
    found = set[tuple[Any, UUID]]()
    if words is not None:
        settled = _walk(db, business_id, which, words)
        if len(settled) < which.limit:
            settled = _ask_index(db, business_id, which, words)
        found.update(settled, _unsettled(db, business_id, which, words))
    customers = find_contacts(db, business_id, words, endings, limit=MOST_CONTACTS)
    if customers:
        found.update(_of_contacts(db, business_id, which, customers))
    in_order = sorted(found, reverse=which.after is None)[: which.limit]
    return session_views.list_these(db, business_id, [one for _, one in in_order])


def find_contacts(
    db: Connection,
    business_id: BusinessId,
    words: Words | None,
    endings: Sequence[str],
    *,
    before: UUID | None = None,
    limit: int,
) -> list[UUID]:
    """Return contacts by name or by how a number of theirs ends, newest first."""
    older = "AND {} < :before" if before else ""
    parameters = {"business_id": business_id, "before": before, "limit": limit}
    found = set[UUID]()
    if words is not None:
        named = list(
            db.execute(
                text(f"""
                    SELECT id FROM (
                      SELECT id, name, business_id FROM contacts
                      WHERE business_id = :business_id AND merged_into IS NULL
                        {older.format("id")}
                      ORDER BY id DESC LIMIT {WALKED}) newest
                    WHERE {_NAME_WORDS} @@ CAST(:words AS tsquery)
                    ORDER BY id DESC LIMIT :limit"""),
                parameters | {"words": words.query},
            ).scalars()
        )
        if len(named) < limit:
            named = list(
                db.execute(
                    text(f"""
                        WITH named AS MATERIALIZED (
                          SELECT id, merged_into FROM contacts
                          WHERE business_id = :business_id AND name IS NOT NULL
                            AND {_NAME_WORDS} @@ CAST(:words AS tsquery))
                        SELECT id FROM named WHERE merged_into IS NULL {older.format("id")}
                        ORDER BY id DESC LIMIT :limit"""),
                    parameters | {"words": _within(business_id, words)},
                ).scalars()
            )
        found.update(named)
    for ending in endings:
        backwards = ending[::-1]
        found.update(
            db.execute(
                text(f"""
                    SELECT DISTINCT contact_id FROM contact_ids
                    WHERE business_id = :business_id AND kind = 'phone'
                      AND reverse(value) ~>=~ :first AND reverse(value) ~<~ :beyond
                      {older.format("contact_id")}
                    ORDER BY contact_id DESC LIMIT :limit"""),
                parameters
                | {"first": backwards, "beyond": backwards[:-1] + chr(ord(backwards[-1]) + 1)},
            ).scalars()
        )
    return sorted(found, reverse=True)[:limit]


def mark_stale(db: Connection, session_id: SessionId | UUID) -> None:
    """Have the words of a closed session written anew, once this transaction is through."""
    db.execute(
        text("""
            INSERT INTO stale_words SELECT id FROM sessions WHERE id = :id AND state = 'closed'
            ON CONFLICT (session_id) DO NOTHING"""),
        {"id": session_id},
    )


def write_stale(db: Connection, *, limit: int) -> int:
    """Write the words of marked sessions, the newest first; return of how many."""
    ids = list(
        db.execute(
            text("""
                DELETE FROM stale_words WHERE session_id IN (
                  SELECT session_id FROM stale_words ORDER BY session_id DESC
                  LIMIT :limit FOR UPDATE SKIP LOCKED)
                RETURNING session_id"""),
            {"limit": limit},
        ).scalars()
    )
    if ids:
        # Another statement, so it sees all that was there when the marks were taken.
        db.execute(
            text(f"""
                INSERT INTO session_words (session_id, business_id, started_at, words)
                SELECT s.id, s.business_id, s.started_at,
                  strip(to_tsvector('simple'::regconfig, {_TEXT}))
                    || array_to_tsvector(ARRAY[s.business_id::text])
                FROM sessions s
                WHERE s.id = ANY(CAST(:ids AS uuid[]))
                ON CONFLICT (session_id) DO UPDATE
                  SET started_at = excluded.started_at, words = excluded.words"""),
            {"ids": ids},
        )
    return len(ids)


def _within(business_id: BusinessId, words: Words) -> str:
    """Name the business as a word of the query: else its index would read all others' matches."""
    return f"'{business_id}' & {words.query}"


def _walk(
    db: Connection, business_id: BusinessId, which: Filter, words: Words
) -> list[tuple[Any, UUID]]:
    conditions, parameters = session_views.conditions_of(db, business_id, which)
    order = session_views.order_of(which).replace("s.id", "s.session_id")
    # In the order of the walk, so that it ends with the page.
    rows = db.execute(
        text(f"""
            SELECT w.started_at, w.session_id FROM (
              SELECT s.started_at, s.session_id, s.words FROM session_words s
              WHERE s.business_id = :business_id {_between(which)}
              ORDER BY {order} LIMIT {WALKED}) w JOIN sessions s ON s.id = w.session_id
            WHERE w.words @@ CAST(:words AS tsquery) AND {" AND ".join(conditions)}
            ORDER BY {order.replace("s.", "w.")} LIMIT :limit"""),
        parameters | {"words": words.query},
    )
    return [(row.started_at, row.session_id) for row in rows]


def _ask_index(
    db: Connection, business_id: BusinessId, which: Filter, words: Words
) -> list[tuple[Any, UUID]]:
    conditions, parameters = session_views.conditions_of(db, business_id, which)
    rows = db.execute(
        text(f"""
            WITH found AS MATERIALIZED (
              SELECT session_id FROM session_words s
              WHERE s.business_id = :business_id AND s.words @@ CAST(:words AS tsquery)
                {_between(which)})
            SELECT s.started_at, s.id FROM found JOIN sessions s ON s.id = found.session_id
            WHERE {" AND ".join(conditions)}
            ORDER BY {session_views.order_of(which)} LIMIT :limit"""),
        parameters | {"words": _within(business_id, words)},
    )
    return [(row.started_at, row.id) for row in rows]


def _unsettled(
    db: Connection, business_id: BusinessId, which: Filter, words: Words
) -> list[tuple[Any, UUID]]:
    conditions, parameters = session_views.conditions_of(db, business_id, which)
    order = session_views.order_of(which)
    # The latest active are those whose deadline is known to be far; exact order costs an index.
    # What does not hold the letters of each word need not be split into words.
    rows = db.execute(
        text(f"""
            SELECT s.started_at, s.id FROM (
              SELECT * FROM (
                (SELECT * FROM sessions WHERE business_id = :business_id AND state = 'open'
                 ORDER BY due_not_before DESC LIMIT {UNSETTLED})
                UNION ALL
                (SELECT * FROM sessions WHERE business_id = :business_id
                   AND summary_status IN ('pending', 'running', 'failed')
                 ORDER BY started_at DESC LIMIT {UNSETTLED})) s
              WHERE {" AND ".join(conditions)} ORDER BY {order}) s
            CROSS JOIN LATERAL (SELECT {_TEXT} AS said OFFSET 0) t
            WHERE t.said ILIKE ALL (CAST(:letters AS text[]))
              AND to_tsvector('simple'::regconfig, t.said) @@ CAST(:words AS tsquery)
            ORDER BY {order} LIMIT :limit"""),
        parameters | {"words": words.query, "letters": words.letters},
    )
    return [(row.started_at, row.id) for row in rows]


def _of_contacts(
    db: Connection, business_id: BusinessId, which: Filter, contacts: Sequence[UUID]
) -> list[tuple[Any, UUID]]:
    conditions, parameters = session_views.conditions_of(db, business_id, which)
    rows = db.execute(
        text(f"""
            SELECT s.started_at, s.id FROM sessions s
            WHERE s.contact_id = ANY(CAST(:contacts AS uuid[])) AND {" AND ".join(conditions)}
            ORDER BY {session_views.order_of(which)} LIMIT :limit"""),
        parameters | {"contacts": list(contacts)},
    )
    return [(row.started_at, row.id) for row in rows]


def _between(which: Filter) -> str:
    """Bound a walk over `session_words` as the filter bounds the sessions."""
    return "".join(
        f" AND {condition}"
        for name, condition in (
            ("since", "s.started_at >= :since"),
            ("until", "s.started_at < :until"),
            ("before", "(s.started_at, s.session_id) < (:before_at, :before_id)"),
            ("after", "(s.started_at, s.session_id) > (:after_at, :after_id)"),
        )
        if getattr(which, name) is not None
    )
