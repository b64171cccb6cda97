"""What intake does inside its transaction: contacts, sessions, message rows, in that order.

The order matters: contacts are locked before anything about them is read, so that everything read
afterwards stays true until the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from timer_service.errors import NotFound, TimerServiceError
from timer_service.follow_up import Outcome
from timer_service.ids import ConnectionId, ContactId, SessionId, new_id
from timer_service.job_queue import SummaryJob
from timer_service.keys import Member
from timer_service.messages import (
    CloseReason,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
)
from timer_service.placement import Draft, Rules, counted_at, open_now, place
from timer_service.records import connections, contacts, messages, sessions
from timer_service.records.contacts import LockedContact, Merge

log = structlog.get_logger(__name__)

Chat = InboundMessage | OwnMessage


class ContactsMoved(TimerServiceError):
    """Another transaction merged a contact this one was after: begin anew."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one message. ``opened``: it began a new session."""

    provider_message_id: str
    session_id: SessionId
    opened: bool
    duplicate: bool


class Batch:
    """One batch of one connection inside one transaction."""

    def __init__(self, db: Connection, connection_id: ConnectionId) -> None:
        self._db = db
        self._connection_id = connection_id
        self._rules = self._read_rules()
        self._owners: dict[ContactIds, ContactId] = {}
        self._locked: dict[ContactId, LockedContact] = {}
        self.outcome = Outcome()
        self.recorded: list[Recorded] = []

    def record(self, events: Sequence[Event]) -> None:
        """Store every event of the batch."""
        chat = [event for event in events if isinstance(event, InboundMessage | OwnMessage)]
        people = {event.contact: None for event in chat}
        people |= dict.fromkeys(self._known_links(events))
        if people:
            self._hold(list(people))
        if chat:
            self._record_chat(chat)
            if self._rules.is_new:
                # Not every gateway tells its state; messages say that the link works.
                works = ConnectionUpdate(state=ConnectionState.CONNECTED)
                connections.note_state(self._db, self._connection_id, works)
        for event in events:
            if isinstance(event, MessageChange):
                messages.apply_change(self._db, self._connection_id, event)
            elif isinstance(event, DeliveryStatus):
                messages.set_status(self._db, self._connection_id, event)
            elif isinstance(event, ConnectionUpdate):
                connections.note_state(self._db, self._connection_id, event)

    def open_empty(self, customer: ContactIds, context_json: str) -> None:
        """Open a session without a message unless one is open."""
        self._hold([customer])
        contact_id = self._owners[customer]
        draft, _ = self._lock_open([contact_id]).get(contact_id, (None, []))
        is_new = draft is None
        if draft is None:
            draft = open_now(self._placement_rules())
            self._insert(draft, contact_id, customer, context_json)
            self._save_contacts([contact_id])
        self.recorded.append(Recorded("", SessionId(draft.id), is_new, duplicate=not is_new))

    def _known_links(self, events: Sequence[Event]) -> list[ContactIds]:
        """Return the linked ids of customers we know; a link alone makes no contact."""
        links = [event.contact for event in events if isinstance(event, IdentityLink)]
        if not links:
            return []
        pairs = [pair for link in links for pair in link.pairs()]
        known = contacts.find_ids(self._db, self._rules.business_id, pairs)
        return [link for link in links if any(pair in known for pair in link.pairs())]

    def _read_rules(self) -> sessions.ConnectionRules:
        rules = sessions.rules_of(self._db, self._connection_id)
        if rules is None:
            raise NotFound(f"there is no connection {self._connection_id}")
        return rules

    def _placement_rules(self) -> Rules:
        return Rules(self._rules.now, self._rules.idle_gap, self._rules.touch_on)

    def _hold(self, people: list[ContactIds]) -> None:
        """Find, make, merge and lock the contacts, then read the clock.

        The instant of arrival is read under the lock: only then do later transactions of the same
        contact see later instants.
        """
        merges = self._lock(people)
        if merges:
            for merge in merges:
                self._merge(merge)
            self._lock(people)
        self._rules = self._read_rules()

    def _lock(self, people: list[ContactIds]) -> list[Merge]:
        self._owners, merges = contacts.find_or_create(self._db, self._rules.business_id, people)
        wanted = set(self._owners.values()) | {merge.merged for merge in merges}
        locked = contacts.lock(self._db, wanted)
        if locked is None:
            raise ContactsMoved("a contact was merged into another while it was looked up")
        self._locked = locked
        return merges

    def _merge(self, merge: Merge) -> None:
        self.outcome.close(sessions.close_overdue_of(self._db, [merge.keeper, merge.merged]))
        for kept, replaced in sessions.join_open(self._db, merge.keeper, merge.merged):
            self.outcome.arm(kept)
            self.outcome.forget(Member(kept.business_id, replaced))
        contacts.merge(self._db, merge)
        log.info("contacts_merged", keeper=str(merge.keeper), merged=str(merge.merged))

    def _record_chat(self, chat: Sequence[Chat]) -> None:
        held = messages.held(
            self._db, self._connection_id, [message.provider_message_id for message in chat]
        )
        fresh: dict[str, Chat] = {}
        for message in chat:
            if message.provider_message_id not in held:
                fresh.setdefault(message.provider_message_id, message)
        drafts = self._place(list(fresh.values())) if fresh else {}
        opened: set[SessionId] = set()
        answered: set[str] = set()
        for message in chat:
            name = message.provider_message_id
            duplicate = name in held or name in answered
            answered.add(name)
            session_id = held[name] if name in held else SessionId(drafts[name].id)
            is_first = not duplicate and drafts[name].is_new and session_id not in opened
            if is_first:
                opened.add(session_id)
            self.recorded.append(Recorded(name, session_id, is_first, duplicate))

    def _place(self, fresh: Sequence[Chat]) -> dict[str, Draft]:
        by_contact: dict[ContactId, list[Chat]] = defaultdict(list)
        for message in fresh:
            by_contact[self._owners[message.contact]].append(message)
        open_sessions = self._lock_open(list(by_contact))
        rows: list[dict[str, Any]] = []
        drafts: dict[str, Draft] = {}
        for contact_id, theirs in by_contact.items():
            current, just_closed = open_sessions.get(contact_id, (None, []))
            closed = just_closed + self._lock_spanning(contact_id, theirs, just_closed)
            placed = place(
                theirs,
                open_session=current,
                closed_sessions=closed,
                rules=self._placement_rules(),
            )
            self._write_drafts(contact_id, placed)
            for message, draft in placed:
                rows.append(self._message_row(message, draft))
                drafts[message.provider_message_id] = draft
                if message.customer_name:
                    self._locked[contact_id].name = message.customer_name
        messages.add(self._db, rows)
        self._save_contacts(list(by_contact))
        return drafts

    def _lock_open(
        self, contact_ids: Sequence[ContactId]
    ) -> dict[ContactId, tuple[Draft | None, list[Draft]]]:
        """Lock the open sessions and close the overdue: ``(still open, just closed)`` each."""
        found = sessions.lock_open(self._db, self._connection_id, contact_ids)
        overdue = [draft for draft in found.values() if draft.deadline_at <= self._rules.now]
        if overdue:
            self.outcome.close(
                sessions.close_locked(self._db, [draft.id for draft in overdue], CloseReason.IDLE)
            )
        answer: dict[ContactId, tuple[Draft | None, list[Draft]]] = {}
        for contact_id, draft in found.items():
            if draft.deadline_at <= self._rules.now:
                draft.closed_at, draft.close_reason = self._rules.now, CloseReason.IDLE
                answer[contact_id] = (None, [draft])
            else:
                answer[contact_id] = (draft, [])
        return answer

    def _lock_spanning(
        self, contact_id: ContactId, theirs: Sequence[Chat], known: Sequence[Draft]
    ) -> list[Draft]:
        now = self._rules.now
        late = [at for message in theirs if (at := counted_at(message, now)) < now]
        if not late:
            return []
        found = sessions.lock_spanning(
            self._db, self._connection_id, contact_id, min(late), max(late)
        )
        known_ids = {draft.id for draft in known}
        return [draft for draft in found if draft.id not in known_ids]

    def _write_drafts(self, contact_id: ContactId, placed: Sequence[tuple[Chat, Draft]]) -> None:
        first_of: dict[int, tuple[Chat, Draft]] = {}
        for message, draft in placed:
            first_of.setdefault(id(draft), (message, draft))
        for message, draft in first_of.values():
            if draft.is_new:
                self._insert(draft, contact_id, message.contact)
                continue
            extended = sessions.extend(self._db, draft)
            if draft.is_open:
                self.outcome.arm(extended)
                continue
            attempt = sessions.ask_summary_again(self._db, draft.id)
            if attempt is not None:
                self.outcome.want(SummaryJob(SessionId(draft.id), attempt))

    def _insert(
        self, draft: Draft, contact_id: ContactId, customer: ContactIds, context_json: str = "{}"
    ) -> None:
        contact = self._locked[contact_id]
        contact.session_count += 1
        best = customer.best if customer.phone else contacts.best_id(self._db, contact_id)
        inserted = sessions.insert_draft(
            self._db,
            draft,
            business_id=self._rules.business_id,
            connection_id=self._connection_id,
            contact_id=contact_id,
            customer_wa_id=best or customer.best,
            number=contact.session_count,
            context_json=context_json,
        )
        if draft.is_open:
            self.outcome.arm(inserted)
        else:
            self.outcome.close(sessions.closed_at_birth(self._db, SessionId(draft.id)))

    def _save_contacts(self, contact_ids: Sequence[ContactId]) -> None:
        changed = [self._locked[one] for one in contact_ids if self._locked[one].is_changed]
        if changed:
            contacts.save(self._db, changed)

    def _message_row(self, message: Chat, draft: Draft) -> dict[str, Any]:
        now = self._rules.now
        is_out = message.direction is Direction.OUT
        return {
            "id": new_id(),
            "business_id": self._rules.business_id,
            "connection_id": self._connection_id,
            "session_id": draft.id,
            "provider_message_id": message.provider_message_id,
            "direction": message.direction.value,
            "author": message.author.value,
            "type": message.type,
            "text": message.text,
            "media": message.media.as_json() if message.media else None,
            "reply_to": message.reply_to,
            "payload": message.payload,
            "extra": message.extra or None,
            "sent_at": message.sent_at,
            "received_at": now,
            "placed_at": min(message.sent_at or now, now),
            "status": Delivery.SENT.value if is_out else None,
        }
