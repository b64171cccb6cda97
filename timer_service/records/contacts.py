"""Contacts and the ids they are known by: find, create, lock, merge.

Intake calls this inside its transaction. Locks are always taken in one order (new ids' advisory
locks by key, then contact rows by id), so opposite batches cannot deadlock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service import service_window
from timer_service.ids import BusinessId, ContactId, new_id
from timer_service.messages import ContactIds
from timer_service.number_forms import common_form, other_form

_FIND = text("""
    SELECT business_id, kind, value, contact_id FROM contact_ids
    WHERE (business_id, kind, value) IN (SELECT * FROM unnest(
      CAST(:business_ids AS uuid[]), CAST(:kinds AS text[]), CAST(:values AS text[])))
""")
_LOCK_IDS = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
_INSERT_CONTACTS = text("""
    INSERT INTO contacts (id, business_id)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:business_ids AS uuid[]))
""")
_INSERT_IDS = text("""
    INSERT INTO contact_ids (business_id, kind, value, contact_id)
    SELECT * FROM unnest(CAST(:business_ids AS uuid[]), CAST(:kinds AS text[]),
      CAST(:values AS text[]), CAST(:contact_ids AS uuid[]))
""")
_LOCK = """
    SELECT id, name, session_count, merged_into FROM contacts
    WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_ALL = text(_LOCK)
_LOCK_FREE = text(f"{_LOCK} SKIP LOCKED")
_UPDATE = text("""
    UPDATE contacts SET name = new.name, session_count = new.session_count
    FROM unnest(CAST(:ids AS uuid[]), CAST(:names AS text[]), CAST(:counts AS int[]))
      AS new (id, name, session_count)
    WHERE contacts.id = new.id
""")

OWNER_OF_ID = """(
    SELECT contact_id FROM contact_ids
    WHERE business_id = :business_id AND kind = :kind AND value = ANY(CAST(:forms AS text[]))
    ORDER BY array_position(CAST(:forms AS text[]), value) LIMIT 1)
"""
"""The contact whose id somebody looks for, with ``parameters_of_id``."""

Person = tuple[BusinessId, *tuple[ContactIds, ...]]
"""A customer of a business, by all ids a message names; a change of number names those before."""
OwnedId = tuple[BusinessId, str, str]
"""An id (its kind, its value) as one business knows it."""


@dataclass(slots=True)
class LockedContact:
    """A contact whose row this transaction holds."""

    id: ContactId
    name: str | None
    session_count: int
    held: tuple[str | None, int]
    """Name and count as the row holds them."""

    @property
    def is_changed(self) -> bool:
        """Whether the row must be written back."""
        return (self.name, self.session_count) != self.held


@dataclass(frozen=True, slots=True)
class Merge:
    """Two contacts that turned out to be one customer; ``keeper`` is the older."""

    keeper: ContactId
    merged: ContactId


@dataclass(frozen=True, slots=True)
class Found:
    """The contact of each person, and what had to be or has to be done about them."""

    owners: dict[Person, ContactId]
    merges: list[Merge]
    given_ids: frozenset[UUID]
    """The contacts that were made, or given ids."""


def ids_of(person: Person) -> list[OwnedId]:
    """Return each id of a person."""
    business_id, *named = person
    pairs = dict.fromkeys(pair for ids in named for pair in ids.pairs())
    return [(business_id, kind, value) for kind, value in pairs]


def parameters_of_id(customer: ContactIds) -> dict[str, Any]:
    """Return what ``OWNER_OF_ID`` asks for: the id, and the other form of a number after it."""
    kind, value = customer.pairs()[0]
    return {"kind": kind, "forms": [value, *_other_values(kind, value)]}


def find_ids(db: Connection, ids: Iterable[OwnedId]) -> dict[OwnedId, UUID]:
    """Return the contact of each id that is known."""
    rows = db.execute(_FIND, _columns(sorted(set(ids))))
    return {(row.business_id, row.kind, row.value): row.contact_id for row in rows}


def known_people(db: Connection, people: Iterable[Person]) -> list[Person]:
    """Return those of whom an id is known, in any form."""
    ids = {person: [*ids_of(person), *other_forms_of(ids_of(person))] for person in people}
    known = find_ids(db, (one for theirs in ids.values() for one in theirs)) if ids else {}
    return [person for person, theirs in ids.items() if any(one in known for one in theirs)]


def other_forms_of(ids: Iterable[OwnedId]) -> list[OwnedId]:
    """Return the other form of each number that has one."""
    return [
        (business_id, kind, form)
        for business_id, kind, value in ids
        for form in _other_values(kind, value)
    ]


def _other_values(kind: str, value: str) -> list[str]:
    form = other_form(value) if kind == "phone" else None
    return [form] if form else []


def find_or_create(db: Connection, people: Sequence[Person]) -> Found:
    """Find the contact of each person, or make it, and the merges their ids call for.

    An id that arrives together with a known one is added to that contact, and so is a number of
    which only another form is known. Two ids known as two contacts are a merge: the caller locks
    both and calls ``merge``; two forms of one number known as two contacts stay two.
    """
    ids = {person: ids_of(person) for person in people}
    wanted = {one for theirs in ids.values() for one in theirs}
    known = find_ids(db, wanted)
    missing = wanted - known.keys()
    if missing:
        db.execute(_LOCK_IDS, {"keys": sorted({_lock_key(one) for one in missing})})
        known |= find_ids(db, [*missing, *other_forms_of(missing)])
    created: list[tuple[ContactId, BusinessId]] = []
    added: dict[OwnedId, UUID] = {}
    found: dict[Person, ContactId] = {}
    for person, theirs in ids.items():
        named = [one for one in theirs if one in known] or other_forms_of(theirs)
        owners = sorted({known[one] for one in named if one in known})
        owner = ContactId(owners[0] if owners else new_id())
        if not owners:
            created.append((owner, person[0]))
        for one in theirs:
            if one not in known:
                known[one] = added[one] = owner
        found[person] = owner
    if created:
        db.execute(
            _INSERT_CONTACTS,
            {
                "ids": [contact_id for contact_id, _ in created],
                "business_ids": [business_id for _, business_id in created],
            },
        )
    if added:
        db.execute(_INSERT_IDS, {**_columns(added), "contact_ids": list(added.values())})
    return Found(found, _merges_needed(ids.values(), known), given_ids=frozenset(added.values()))


def _columns(ids: Collection[OwnedId]) -> dict[str, list[Any]]:
    return {
        "business_ids": [business_id for business_id, _, _ in ids],
        "kinds": [kind for _, kind, _ in ids],
        "values": [value for _, _, value in ids],
    }


def _merges_needed(
    people: Iterable[Sequence[OwnedId]], known: Mapping[OwnedId, UUID]
) -> list[Merge]:
    """Merge each contact into the oldest it is linked with, directly or by way of others."""
    older: dict[UUID, UUID] = {}

    def oldest_of(contact: UUID) -> UUID:
        while contact in older:
            contact = older[contact]
        return contact

    for ids in people:
        linked = sorted({oldest_of(known[one]) for one in ids})
        older |= dict.fromkeys(linked[1:], linked[0])
    return [Merge(keeper=ContactId(oldest_of(one)), merged=ContactId(one)) for one in older]


def _lock_key(owned_id: OwnedId) -> int:
    """Return the number an id is locked by; the forms of a phone's number share it."""
    business_id, kind, value = owned_id
    form = common_form(value) if kind == "phone" else value
    name = f"{business_id}:{kind}:{form}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)


def lock(
    db: Connection, ids: Iterable[ContactId], *, only_free: bool = False
) -> dict[ContactId, LockedContact] | None:
    """Lock contacts by id order; None if one was merged away meanwhile.

    Then the transaction must be given up and begun anew: it holds locks out of order, and ids it
    added may hang on a contact that is no more. With ``only_free``, contacts somebody else has
    locked are left out instead of waited for.
    """
    statement = _LOCK_FREE if only_free else _LOCK_ALL
    rows = db.execute(statement, {"ids": sorted(set(ids))}).all()
    if any(row.merged_into is not None for row in rows):
        return None
    return {
        row.id: LockedContact(
            row.id, row.name, row.session_count, held=(row.name, row.session_count)
        )
        for row in rows
    }


def best_id(db: Connection, contact_id: ContactId) -> str | None:
    """Return the best id a contact is known by: a phone's digits, else ``lid:…``, ``bsuid:…``."""
    row = db.execute(
        text("""
            SELECT kind, value FROM contact_ids WHERE contact_id = :id
            ORDER BY array_position(ARRAY['phone', 'lid', 'bsuid'], kind), created_at DESC
            LIMIT 1"""),
        {"id": contact_id},
    ).one_or_none()
    if row is None:
        return None
    return ContactIds(**{row.kind: row.value}).best


def save(db: Connection, contacts: Sequence[LockedContact]) -> None:
    """Write back the names and session counts of locked contacts."""
    db.execute(
        _UPDATE,
        {
            "ids": [contact.id for contact in contacts],
            "names": [contact.name for contact in contacts],
            "counts": [contact.session_count for contact in contacts],
        },
    )


def merge(db: Connection, merge: Merge) -> None:
    """Move everything of ``merged`` to ``keeper``. Both rows are locked, at most one session open.

    Session numbers are counted anew over both contacts' sessions, in order of creation.
    """
    ids = {"keeper": merge.keeper, "merged": merge.merged}
    for statement in (
        "UPDATE contact_ids SET contact_id = :keeper WHERE contact_id = :merged",
        "UPDATE sessions SET contact_id = :keeper WHERE contact_id = :merged",
        "UPDATE notes SET contact_id = :keeper WHERE contact_id = :merged",
        "UPDATE tasks SET contact_id = :keeper WHERE contact_id = :merged",
        """UPDATE contacts SET merged_into = :keeper WHERE id = :merged OR merged_into = :merged""",
        """UPDATE sessions SET number = counted.number
           FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number
                 FROM sessions WHERE contact_id = :keeper) AS counted
           WHERE sessions.id = counted.id AND sessions.number <> counted.number""",
        """UPDATE contacts SET
             session_count = (SELECT count(*) FROM sessions WHERE contact_id = :keeper),
             name = coalesce(name, (SELECT name FROM contacts WHERE id = :merged)),
             attributes = (SELECT attributes FROM contacts WHERE id = :merged) || attributes
           WHERE id = :keeper""",
    ):
        db.execute(text(statement), ids)


_SELECT = f"""
    SELECT k.id, k.business_id, k.name, k.session_count, k.created_at, k.attributes,
      (SELECT json_agg(json_build_array(i.kind, i.value) ORDER BY i.created_at, i.value)
       FROM contact_ids i WHERE i.contact_id = k.id) AS ids,
      (SELECT json_agg(json_build_array(w.connection_id, c.provider, w.began_at)
         ORDER BY w.connection_id)
       FROM (SELECT connection_id, max(last_customer_message_at) AS began_at FROM sessions
             WHERE contact_id = k.id GROUP BY connection_id) w
         JOIN connections c ON c.id = w.connection_id AND c.deleted_at IS NULL
           AND c.provider IN ({service_window.PROVIDERS_IN_SQL})) AS windows,
      (SELECT count(*) FROM tasks t
       WHERE t.contact_id = k.id AND t.done_at IS NULL) AS open_task_count,
      clock_timestamp() AS read_at,
      last.*
    FROM contacts k JOIN businesses b ON b.id = k.business_id AND b.erased_at IS NULL
    LEFT JOIN LATERAL (
      SELECT s.id AS session_id, s.started_at, s.closed_at, c.provider, m.title AS summary_title,
        m.text AS summary_text, m.follow_up
      FROM sessions s JOIN connections c ON c.id = s.connection_id
        LEFT JOIN summaries m ON m.session_id = s.id
      WHERE s.contact_id = k.id AND s.close_reason IS DISTINCT FROM 'replaced'
      ORDER BY s.started_at DESC LIMIT 1) last ON true
"""


def get(db: Connection, business_id: BusinessId, contact_id: UUID) -> RowMapping | None:
    """Return one contact with its ids and its last conversation, following a merge."""
    return (
        db.execute(
            text(f"""{_SELECT}
            WHERE k.business_id = :business_id AND k.id = (
              SELECT coalesce(merged_into, id) FROM contacts
              WHERE id = :id AND business_id = :business_id)"""),
            {"business_id": business_id, "id": contact_id},
        )
        .mappings()
        .one_or_none()
    )


def list_page(
    db: Connection, business_id: BusinessId, *, before: UUID | None, limit: int
) -> Sequence[RowMapping]:
    """Return contacts, newest first, older than ``before``."""
    condition = "AND id < :before" if before else ""
    parameters: dict[str, Any] = {"business_id": business_id, "before": before, "limit": limit}
    ids = db.execute(
        text(f"""
            SELECT id FROM contacts
            WHERE business_id = :business_id AND merged_into IS NULL {condition}
            ORDER BY id DESC LIMIT :limit"""),
        parameters,
    ).scalars()
    return list_these(db, business_id, list(ids))


def list_these(
    db: Connection, business_id: BusinessId, contact_ids: Sequence[UUID]
) -> Sequence[RowMapping]:
    """Return these contacts, newest first."""
    return (
        db.execute(
            text(f"""{_SELECT}
            WHERE k.id = ANY(CAST(:ids AS uuid[])) AND k.business_id = :business_id
              AND k.merged_into IS NULL
            ORDER BY k.id DESC"""),
            {"ids": list(contact_ids), "business_id": business_id},
        )
        .mappings()
        .all()
    )


def merge_attributes(
    db: Connection, business_id: BusinessId, contact_id: UUID, changes: str, *, most: int
) -> bool | None:
    """Merge a JSON object into a contact's attributes; a null takes one away.

    False if there would be more than so many; None if there is no such contact.
    """
    row = db.execute(
        text("""
            UPDATE contacts SET attributes = CASE
              WHEN (SELECT count(*) FROM jsonb_object_keys(merged.attributes)) <= :most
              THEN merged.attributes ELSE contacts.attributes END
            FROM (SELECT id, jsonb_strip_nulls(attributes || CAST(:changes AS jsonb)) AS attributes
                  FROM contacts WHERE business_id = :business_id AND merged_into IS NULL
                    AND id = :id FOR NO KEY UPDATE) merged
            WHERE contacts.id = merged.id
            RETURNING contacts.attributes = merged.attributes AS is_merged"""),
        {"id": contact_id, "business_id": business_id, "changes": changes, "most": most},
    ).one_or_none()
    return None if row is None else bool(row.is_merged)
