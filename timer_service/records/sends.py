"""Sends: what is to be sent, by whom it is taken up, and how it ended. All by compare-and-set.

How far a message got is told by its own row (`records.messages`); here is what its job needs. The
attempt number fences: a job that runs twice sends once. Rows are locked as sends, session, message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service import service_window
from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import ContactIds, SendFailure
from timer_service.records import contacts, early_statuses
from timer_service.records.messages import MAY_STILL_FAIL, RANK

FIRST_CHECK_AFTER = timedelta(seconds=30)
"""How long after a message was queued the sweep looks whether its job got anywhere."""
LOOK_FOR_ECHO_EVERY = timedelta(seconds=10)
LOOK_FOR_ECHO_FOR = timedelta(minutes=15)
"""How long a message without the gateway's id is looked for among what came back."""

_IS_OURS_TO_SEND = "m.status IN ('queued', 'sending')"
# Each by its key, whatever the planner thinks of how many are due: LIMIT keeps it from joining.
_ITS_MESSAGE = "LATERAL (SELECT * FROM messages WHERE id = s.message_id LIMIT 1) m"
_CHECK_AGAIN = "clock_timestamp() + CAST(:check_after AS interval)"


@dataclass(frozen=True, slots=True)
class NewSend:
    """What is to be kept of a message to be sent, beside the message. ``recipient`` is its id."""

    message_id: UUID
    recipient: str
    client_ref: str | None = None
    template: Mapping[str, Any] | None = None
    upload_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedSend:
    """A message whose job may be lost."""

    message_id: UUID
    attempt: int
    is_parked: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose pace a message has to keep, and how long it waits for its turn; None: it has none."""

    connection_id: UUID
    provider: str
    wait_s: float | None


def add(db: Connection, business_id: BusinessId, new: NewSend) -> None:
    """Note a message to be sent.

    Raises:
        sqlalchemy.exc.IntegrityError: another one has its ``client_ref``.
    """
    db.execute(
        text(f"""
            INSERT INTO sends
              (message_id, business_id, client_ref, recipient, template, upload_id, next_check_at)
            VALUES (:message_id, :business_id, :client_ref, :recipient, CAST(:template AS jsonb),
              :upload_id, {_CHECK_AGAIN})"""),
        {
            "message_id": new.message_id,
            "business_id": business_id,
            "client_ref": new.client_ref,
            "recipient": new.recipient,
            "template": None if new.template is None else json.dumps(new.template),
            "upload_id": new.upload_id,
            "check_after": FIRST_CHECK_AFTER,
        },
    )


def find_by_ref(db: Connection, business_id: BusinessId, client_ref: str) -> UUID | None:
    """Return the message a program has named so."""
    return db.execute(
        text("""
            SELECT message_id FROM sends
            WHERE business_id = :business_id AND client_ref = :client_ref"""),
        {"business_id": business_id, "client_ref": client_ref},
    ).scalar_one_or_none()


def get(db: Connection, business_id: BusinessId, message_id: UUID) -> RowMapping | None:
    """Return what is to be sent with a message, and by which connection."""
    return (
        db.execute(
            text("""
                SELECT s.recipient, s.template, s.upload_id, s.attempt, m.connection_id, m.text,
                  m.media, m.type, m.status
                FROM sends s JOIN messages m ON m.id = s.message_id
                WHERE s.message_id = :message_id AND s.business_id = :business_id"""),
            {"message_id": message_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def is_window_open(
    db: Connection, business_id: BusinessId, connection_id: UUID, recipient: ContactIds
) -> bool:
    """Tell whether a customer wrote to a connection within WhatsApp's service window."""
    named = contacts.ids_of((business_id, recipient))
    names = [*named, *contacts.other_forms_of(named)]
    is_open: bool | None = db.execute(
        text("""
            SELECT max(s.last_customer_message_at) > clock_timestamp() - CAST(:window AS interval)
            FROM sessions s WHERE s.connection_id = :connection_id AND s.contact_id IN (
              SELECT k.contact_id FROM contact_ids k
              WHERE k.business_id = :business_id AND (k.kind, k.value) IN (
                SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]))))"""),
        {
            "business_id": business_id,
            "connection_id": connection_id,
            "kinds": [kind for _, kind, _ in names],
            "names": [name for _, _, name in names],
            "window": service_window.LASTS,
        },
    ).scalar_one()
    return bool(is_open)


def read_turn(db: Connection, message_id: UUID, attempt: int) -> Turn | None:
    """Return whose turn a message waits for; None if this attempt has nothing to send."""
    row = db.execute(
        text(f"""
            SELECT m.connection_id, c.provider,
              extract(epoch FROM s.turn_at - clock_timestamp())::float8 AS wait_s
            FROM sends s JOIN messages m ON m.id = s.message_id
              JOIN connections c ON c.id = m.connection_id
            WHERE s.message_id = :message_id AND s.attempt = :attempt AND NOT s.is_running
              AND {_IS_OURS_TO_SEND}"""),
        {"message_id": message_id, "attempt": attempt},
    ).one_or_none()
    return None if row is None else Turn(row.connection_id, row.provider, row.wait_s)


def set_turn(db: Connection, message_id: UUID, attempt: int, *, wait: timedelta) -> None:
    """Keep when a message's turn is; the sweep looks once it has passed."""
    db.execute(
        text(f"""
            UPDATE sends SET turn_at = clock_timestamp() + CAST(:wait AS interval),
              next_check_at = CAST(:wait AS interval) + {_CHECK_AGAIN}
            WHERE message_id = :message_id AND attempt = :attempt AND NOT is_running"""),
        {
            "message_id": message_id,
            "attempt": attempt,
            "wait": wait,
            "check_after": FIRST_CHECK_AFTER,
        },
    )


def start(db: Connection, message_id: UUID, attempt: int, *, lease: timedelta) -> RowMapping | None:
    """Take a message up: the gateway is asked next. None if that is not this attempt's to do.

    Answers the message's content and its connection, whose ``is_gone`` says that it was deleted.
    """
    return (
        db.execute(
            text(f"""
                WITH begun AS (
                  UPDATE sends s SET is_running = true, next_check_at = {_CHECK_AGAIN}
                  FROM messages m, connections c, businesses b
                  WHERE s.message_id = :message_id AND s.attempt = :attempt AND NOT s.is_running
                    AND m.id = s.message_id AND {_IS_OURS_TO_SEND}
                    AND c.id = m.connection_id AND b.id = s.business_id AND b.erased_at IS NULL
                  RETURNING s.message_id, s.business_id, s.recipient, s.template, s.upload_id,
                    s.refusals, m.type, m.text, m.media, c.id AS connection_id, c.provider,
                    c.external_id, c.base_url, c.secrets, c.deleted_at IS NOT NULL AS is_gone
                ), moved AS (
                  UPDATE messages SET status = 'sending' FROM begun WHERE id = begun.message_id
                )
                SELECT * FROM begun"""),
            {"message_id": message_id, "attempt": attempt, "check_after": lease},
        )
        .mappings()
        .one_or_none()
    )


def accept(db: Connection, message_id: UUID, attempt: int, provider_message_id: str | None) -> None:
    """Note that the gateway took a message, even where its worker was given up meanwhile.

    Without the gateway's id the message is looked for among what comes back. What has come back
    already is this message: it is not kept twice.
    """
    is_ours = db.execute(
        text(f"""
            UPDATE sends SET is_running = false, next_check_at = CASE
              WHEN CAST(:provider_message_id AS text) IS NULL THEN {_CHECK_AGAIN} END
            WHERE message_id = :message_id AND attempt = :attempt"""),
        {
            "message_id": message_id,
            "attempt": attempt,
            "provider_message_id": provider_message_id,
            "check_after": LOOK_FOR_ECHO_EVERY,
        },
    )
    if is_ours.rowcount == 1:
        echo = _echo_named(db, message_id, provider_message_id)
        if echo is not None and echo["is_own"]:  # a gateway that gives two messages one id
            provider_message_id, echo = None, None
        _settle(db, message_id, provider_message_id, "sent", echo)


def refuse(
    db: Connection,
    message_id: UUID,
    attempt: int,
    failure: SendFailure,
    *,
    code: int | None,
    retryable: bool,
) -> None:
    """Note that a message will not be sent."""
    _end_run(db, message_id, attempt, None)
    db.execute(
        text("""
            UPDATE messages m SET status = 'failed', failure = :failure, error_code = :code,
              retryable = :retryable
            FROM sends s
            WHERE m.id = :message_id AND s.message_id = m.id AND s.attempt = :attempt
              AND m.status IN ('queued', 'sending', 'unknown')"""),
        {
            "message_id": message_id,
            "attempt": attempt,
            "failure": failure.value,
            "code": code,
            "retryable": retryable,
        },
    )


def let_go(db: Connection, message_id: UUID, attempt: int, *, wait: timedelta) -> None:
    """Note that the gateway did not take a message for the time being; look again later."""
    db.execute(
        text(f"""
            UPDATE sends SET is_running = false, refusals = refusals + 1, turn_at = NULL,
              next_check_at = CAST(:wait AS interval) + {_CHECK_AGAIN}
            WHERE message_id = :message_id AND attempt = :attempt AND is_running"""),
        {
            "message_id": message_id,
            "attempt": attempt,
            "wait": wait,
            "check_after": FIRST_CHECK_AFTER,
        },
    )


def leave_unknown(db: Connection, message_id: UUID, attempt: int, code: int | None) -> None:
    """Note that nobody knows whether the gateway took a message."""
    _end_run(db, message_id, attempt, LOOK_FOR_ECHO_EVERY)
    db.execute(
        text("""
            UPDATE messages m SET status = 'unknown', error_code = coalesce(:code, error_code)
            FROM sends s
            WHERE m.id = :message_id AND s.message_id = m.id AND s.attempt = :attempt
              AND m.status = 'sending'"""),
        {"message_id": message_id, "attempt": attempt, "code": code},
    )


def _end_run(db: Connection, message_id: UUID, attempt: int, check_after: timedelta | None) -> None:
    db.execute(
        text(f"""
            UPDATE sends SET is_running = false, next_check_at = {_CHECK_AGAIN}
            WHERE message_id = :message_id AND attempt = :attempt"""),
        {"message_id": message_id, "attempt": attempt, "check_after": check_after},
    )


def send_again(db: Connection, business_id: BusinessId, message_id: UUID) -> int | None:
    """Queue anew what somebody decided to send again; the new attempt, None if it may not be."""
    attempt: int | None = db.execute(
        text(f"""
            UPDATE sends s SET attempt = attempt + 1, refusals = 0, turn_at = NULL,
              next_check_at = {_CHECK_AGAIN}
            FROM messages m
            WHERE s.message_id = :message_id AND s.business_id = :business_id AND NOT s.is_running
              AND m.id = s.message_id AND m.status IN ('unknown', 'failed')
            RETURNING s.attempt"""),
        {
            "message_id": message_id,
            "business_id": business_id,
            "check_after": FIRST_CHECK_AFTER,
        },
    ).scalar_one_or_none()
    if attempt is not None:
        db.execute(
            text("""
                UPDATE messages SET status = 'queued', provider_message_id = id::text,
                  failure = NULL, retryable = NULL, error_code = NULL, sent_at = NULL
                WHERE id = :message_id"""),
            {"message_id": message_id},
        )
    return attempt


def decide(db: Connection, business_id: BusinessId, message_id: UUID, *, was_sent: bool) -> bool:
    """Note what somebody found out of a message nobody knew of; False if it is not so."""
    result = db.execute(
        text("""
            UPDATE messages m SET status = :status,
              failure = CASE WHEN :was_sent THEN NULL ELSE 'given_up' END,
              retryable = CASE WHEN :was_sent THEN NULL ELSE true END
            FROM sends s
            WHERE m.id = :message_id AND s.message_id = m.id AND s.business_id = :business_id
              AND m.status = 'unknown'"""),
        {
            "message_id": message_id,
            "business_id": business_id,
            "was_sent": was_sent,
            "status": "sent" if was_sent else "failed",
        },
    )
    return result.rowcount == 1


def settle_due(db: Connection, *, limit: int) -> int:
    """Settle what is not to be sent by a job: return how many became unknown or were found.

    A worker whose lease ended has died while the gateway was asked: nobody knows. What has no
    gateway's id is looked for among what came back.
    """
    rows = db.execute(
        text(f"""
            SELECT s.message_id, s.attempt, s.is_running, m.status,
              m.provider_message_id = m.id::text AS is_nameless,
              m.received_at < clock_timestamp() - CAST(:look_for AS interval) AS is_old
            FROM sends s, {_ITS_MESSAGE}
            WHERE s.next_check_at <= clock_timestamp()
              AND (s.is_running OR NOT {_IS_OURS_TO_SEND})
            ORDER BY s.next_check_at LIMIT :limit FOR UPDATE OF s SKIP LOCKED"""),
        {"limit": limit, "look_for": LOOK_FOR_ECHO_FOR},
    ).all()
    settled = 0
    for row in rows:
        if row.is_running and row.status == "sending":
            leave_unknown(db, row.message_id, row.attempt, None)
            settled += 1
            continue
        echo = _echo_like(db, row.message_id) if row.is_nameless else None
        if echo is not None:
            _settle(db, row.message_id, echo["provider_message_id"], "sent", echo)
            settled += 1
        is_over = echo is not None or not row.is_nameless or row.is_old
        _end_run(db, row.message_id, row.attempt, None if is_over else LOOK_FOR_ECHO_EVERY)
    return settled


def unfinished(db: Connection, *, limit: int) -> list[UnfinishedSend]:
    """Return messages to be sent whose time to be looked at has come."""
    rows = db.execute(
        text(f"""
            SELECT s.message_id, s.attempt FROM sends s, {_ITS_MESSAGE}
            WHERE s.next_check_at <= clock_timestamp() AND NOT s.is_running AND {_IS_OURS_TO_SEND}
            ORDER BY s.next_check_at LIMIT :limit"""),
        {"limit": limit},
    )
    return [UnfinishedSend(row.message_id, row.attempt) for row in rows]


def postpone(db: Connection, waiting: Sequence[UnfinishedSend], check_after: timedelta) -> None:
    """Look at these again later: their jobs are still queued."""
    _look_again(db, waiting, f"next_check_at = {_CHECK_AGAIN}", check_after)


def begin_again(
    db: Connection,
    lost: Sequence[UnfinishedSend],
    check_after: timedelta,
    *,
    most_deaths: int | None,  # noqa: ARG001 - a worker's death leaves nothing here to begin again
) -> list[UnfinishedSend]:
    """Give lost jobs a new attempt; those that moved meanwhile are left alone."""
    changes = f"attempt = s.attempt + 1, next_check_at = {_CHECK_AGAIN}"
    return _look_again(db, lost, changes, check_after)


def _look_again(
    db: Connection, found: Sequence[UnfinishedSend], changes: str, check_after: timedelta
) -> list[UnfinishedSend]:
    rows = db.execute(
        text(f"""
            UPDATE sends s SET {changes}
            FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS old (id, attempt)
            WHERE s.message_id = old.id AND s.attempt = old.attempt AND NOT s.is_running
              AND s.next_check_at <= clock_timestamp()
            RETURNING s.message_id, s.attempt"""),
        {
            "ids": [one.message_id for one in found],
            "attempts": [one.attempt for one in found],
            "check_after": check_after,
        },
    )
    return [UnfinishedSend(row.message_id, row.attempt) for row in rows]


def _echo_named(
    db: Connection, message_id: UUID, provider_message_id: str | None
) -> RowMapping | None:
    """Return what came back of a message before its worker knew the gateway's id for it."""
    return (
        db.execute(
            text("""
                SELECT e.id, e.session_id, e.status,
                  EXISTS (SELECT FROM sends s WHERE s.message_id = e.id) AS is_own
                FROM messages e JOIN messages m ON m.connection_id = e.connection_id
                WHERE m.id = :message_id AND e.id <> m.id AND e.direction = 'out'
                  AND e.provider_message_id = :provider_message_id"""),
            {"message_id": message_id, "provider_message_id": provider_message_id},
        )
        .mappings()
        .one_or_none()
    )


def _echo_like(db: Connection, message_id: UUID) -> RowMapping | None:
    """Return the oldest program's message to the same customer, of the same words, since then."""
    return (
        db.execute(
            text("""
                SELECT e.id, e.session_id, e.status, e.provider_message_id
                FROM messages m JOIN sessions ms ON ms.id = m.session_id
                  JOIN sessions es ON es.contact_id = ms.contact_id
                    AND es.connection_id = ms.connection_id AND es.number >= ms.number
                  JOIN messages e ON e.session_id = es.id
                WHERE m.id = :message_id AND e.id <> m.id AND e.direction = 'out'
                  AND e.author = 'bot' AND e.type = m.type AND e.text = m.text
                  AND e.received_at >= m.received_at
                  AND NOT EXISTS (SELECT FROM sends s WHERE s.message_id = e.id)
                ORDER BY e.received_at LIMIT 1"""),
            {"message_id": message_id},
        )
        .mappings()
        .one_or_none()
    )


def _settle(
    db: Connection,
    message_id: UUID,
    provider_message_id: str | None,
    status: str,
    echo: RowMapping | None,
) -> None:
    """Give a message the gateway's id and a status, and take over what came back as another."""
    name = None
    if provider_message_id is not None:
        connection_id: UUID = db.execute(
            text("SELECT connection_id FROM messages WHERE id = :id"), {"id": message_id}
        ).scalar_one()
        name = (ConnectionId(connection_id), provider_message_id)
        early_statuses.lock(db, *name)
    statuses = [status]
    if echo is not None:
        db.execute(
            text("UPDATE sessions SET message_count = message_count - 1 WHERE id = :id"),
            {"id": echo["session_id"]},
        )
        # What came back may have got further meanwhile.
        late: str | None = db.execute(
            text("DELETE FROM messages WHERE id = :id RETURNING status"), {"id": echo["id"]}
        ).scalar_one_or_none()
        if late is not None:
            statuses.append(late)
    for one in statuses:
        _move(db, message_id, provider_message_id, one)
    if name is not None:
        early_statuses.apply_to(db, *name)


def _move(db: Connection, message_id: UUID, provider_message_id: str | None, status: str) -> None:
    is_forward = f"{RANK.format('status')} < {RANK.format('CAST(:status AS text)')}"
    db.execute(
        text(f"""
            UPDATE messages SET
              provider_message_id = coalesce(:provider_message_id, provider_message_id),
              sent_at = coalesce(sent_at, clock_timestamp()),
              status = CASE WHEN {is_forward} OR :status = 'failed' AND status IN {MAY_STILL_FAIL}
                THEN :status ELSE status END
            WHERE id = :message_id"""),
        {
            "message_id": message_id,
            "provider_message_id": provider_message_id,
            "status": status,
        },
    )
