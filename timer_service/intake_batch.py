"""What intake does inside its transaction: contacts, sessions, message rows, in that order.

The order matters: contacts are locked before anything about them is read, so that everything read
afterwards stays true until the commit. Each step is one statement for the whole batch, whoever and
however many its messages are from.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection

from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError
from timer_service.follow_up import Outcome
from timer_service.ids import ConnectionId, ContactId, SessionId, new_id
from timer_service.job_queue import SendJob, SummaryJob
from timer_service.keys import Member
from timer_service.messages import (
    CloseReason,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
)
from timer_service.placement import Draft, Rules, counted_at, open_now, place
from timer_service.records import (
    connections,
    contacts,
    early_changes,
    early_statuses,
    messages,
    open_chats,
    sends,
    sessions,
)
from timer_service.records.contacts import LockedContact, Merge, Person
from timer_service.records.messages import MessageName
from timer_service.records.sends import NewSend
from timer_service.records.sessions import Chat, NewSession

log = structlog.get_logger(__name__)

ChatMessage = InboundMessage | OwnMessage


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


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """One caller's events of one connection, in their order.

    ``waited_since`` is when they arrived, where they waited in a spool since.
    """

    connection_id: ConnectionId
    events: Sequence[Event]
    waited_since: datetime | None = None

    @property
    def chat(self) -> list[ChatMessage]:
        """The messages among the events."""
        return [one for one in self.events if isinstance(one, InboundMessage | OwnMessage)]

    @property
    def is_plain(self) -> bool:
        """Whether a message that arrives now is all there is."""
        return (
            len(self.events) == 1
            and isinstance(self.events[0], InboundMessage | OwnMessage)
            and self.waited_since is None
        )


@dataclass(frozen=True, slots=True)
class _Opening:
    """A new session's contact, the ids its first message named, and what a program gave it."""

    draft: Draft
    customer: ContactIds
    context_json: str = "{}"


READ_WITHIN_S = 0.05
"""In how much of one call that commits what is left until a deadline was surely read. What takes
longer is the commit, waiting for the disk; the deadline does not wait with it."""

Answers = dict[Bundle, list[Recorded]]
"""What became of the messages of each bundle that is stored."""


def continue_chats(db: Connection, bundles: Sequence[Bundle], outcome: Outcome) -> Answers:
    """Store those bundles that are one message of an open chat, in one call.

    Whatever is not as plain has no answer, and is left to `Batch`.
    """
    plain = [bundle for bundle in bundles if bundle.is_plain]
    if not plain:
        return {}
    items = [
        _item(nth, bundle.connection_id, bundle.chat[0]) for nth, bundle in enumerate(plain, 1)
    ]
    asked_at_s = monotonic_s()
    continued = open_chats.continue_sessions(db, json.dumps(items, ensure_ascii=False))
    read_at_s = min(monotonic_s(), asked_at_s + READ_WITHIN_S)
    answers: Answers = {}
    for nth, session in continued.items():
        outcome.arm(session, read_at_s)
        bundle = plain[nth - 1]
        name = bundle.chat[0].provider_message_id
        answers[bundle] = [Recorded(name, session.session_id, opened=False, duplicate=False)]
    return answers


class Batch:
    """The events of some connections inside one transaction.

    ``with_others``: the batch is of several callers, and none of them is to wait for a customer
    somebody else holds, or for a merge. Bundles that would have to have no answer.
    ``held_after``: what falls due after this instant stays open, for messages older than that may
    still wait in a spool. ``held_here`` tells the same of chats other than the bundles' own, for a
    merge closes those too.
    """

    def __init__(
        self,
        db: Connection,
        connection_ids: Iterable[ConnectionId],
        *,
        with_others: bool = False,
        held_after: datetime | None = None,
        held_here: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._db = db
        self._with_others = with_others
        self._held_after = held_after
        self._held_here = held_here
        self._rules = sessions.rules_of(db, set(connection_ids))
        self._owners: dict[Person, ContactId] = {}
        self._locked: dict[ContactId, LockedContact] = {}
        self._closable_until = held_after
        self.outcome = Outcome()

    def knows(self, connection_id: ConnectionId) -> bool:
        """Tell whether there is such a connection."""
        return connection_id in self._rules

    def record(self, bundles: Sequence[Bundle]) -> Answers:
        """Store every event of bundles of known connections.

        Safe to repeat: a message that is held already changes nothing.
        """
        people = {
            self._person(bundle.connection_id, message.contact): None
            for bundle in bundles
            for message in bundle.chat
        }
        people |= dict.fromkeys(self._known_links(bundles))
        self._hold_back(bundle.waited_since for bundle in bundles)
        if people:
            self._hold(list(people))
        ready = self._ready(bundles)
        answers = self._record_chat(ready)
        later = [(bundle.connection_id, event) for bundle in ready for event in bundle.events]
        # Message rows are locked in one order, as `sessions.join_open` does: no deadlocks.
        for connection_id, event in sorted(later, key=_order_of_locks):
            self._apply(connection_id, event)
        return answers

    def open_empty(
        self, connection_id: ConnectionId, customer: ContactIds, context_json: str
    ) -> Recorded:
        """Open a session without a message unless one is open."""
        person = self._person(connection_id, customer)
        self._hold([person])
        chat = (connection_id, self._owners[person])
        found = sessions.lock_open(self._db, [chat])
        now = sessions.read_clock(self._db)
        draft, _ = self._close_overdue(found, {chat: now}).get(chat, (None, []))
        is_new = draft is None
        if draft is None:
            draft = open_now(self._placement_rules(connection_id, now))
            self._insert({chat: [_Opening(draft, customer, context_json)]})
            self._save_contacts()
        return Recorded("", SessionId(draft.id), is_new, duplicate=not is_new)

    def queue_message(
        self, connection_id: ConnectionId, message: OwnMessage, send: NewSend
    ) -> UUID:
        """Store a message that is to be sent, or find the one of the same reference."""
        business_id = self._rules[connection_id].business_id
        if send.client_ref is not None:
            known = sends.find_by_ref(self._db, business_id, send.client_ref)
            if known is not None:
                return known
        self.record([Bundle(connection_id, [message])])
        sends.add(self._db, business_id, send)
        self.outcome.want(SendJob(send.message_id, 1))
        return send.message_id

    def _person(self, connection_id: ConnectionId, *ids: ContactIds) -> Person:
        return self._rules[connection_id].business_id, *ids

    def _known_links(self, bundles: Sequence[Bundle]) -> list[Person]:
        """Return the linked ids of customers we know; a link alone makes no contact."""
        links = {
            self._person(bundle.connection_id, event.contact, event.former): None
            for bundle in bundles
            for event in bundle.events
            if isinstance(event, IdentityLink)
        }
        return contacts.known_people(self._db, links)

    def _hold_back(self, waited: Iterable[datetime | None]) -> None:
        """Let merges close nothing that a message of this very batch may still continue."""
        instants = [one for one in (*waited, self._held_after) if one is not None]
        self._closable_until = min(instants, default=None)

    def _ready(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """Return the bundles that can be recorded together.

        Of what waited in a spool each customer has one arrival in it, for a chat may end between
        two and is judged at one instant here; and none is recorded before an older one.
        """
        arrivals: dict[Chat, datetime | None] = {}
        passed_over: set[Chat] = set()
        ready = []
        for bundle in bundles:
            people = {self._person(bundle.connection_id, one.contact) for one in bundle.chat}
            chats = {(bundle.connection_id, self._owners[person]) for person in people}
            since = bundle.waited_since
            if (
                self._is_held(bundle)
                and not chats & passed_over
                and all(arrivals.get(chat, since) == since for chat in chats)
            ):
                arrivals.update(dict.fromkeys(chats, since))
                ready.append(bundle)
            elif since is not None:
                passed_over |= chats
        return ready

    def _placement_rules(
        self, connection_id: ConnectionId, now: datetime, waited_since: datetime | None = None
    ) -> Rules:
        rules = self._rules[connection_id]
        return Rules(now, rules.idle_gap, rules.touch_on, waited_since)

    def _hold(self, people: list[Person]) -> None:
        """Find, make, merge and lock the contacts.

        The instant of arrival is read after this, under the locks: only then do later transactions
        of the same contact see later instants.
        """
        merges = self._lock(people)
        if merges:
            for merge in merges:
                self._merge(merge)
            self._lock(people)

    def _lock(self, people: list[Person]) -> list[Merge]:
        found = contacts.find_or_create(self._db, people)
        self._owners, merges = found.owners, found.merges
        if merges and self._with_others:
            raise ContactsMoved("two contacts are to be merged")
        wanted = set(self._owners.values()) | {merge.merged for merge in merges}
        locked = contacts.lock(self._db, wanted, only_free=self._with_others)
        if locked is None:
            raise ContactsMoved("a contact was merged into another while it was looked up")
        if not found.given_ids <= locked.keys():
            # Who holds it may be merging it away, and an id must not follow it there.
            raise ContactsMoved("an id was given to a contact that somebody else holds")
        self._locked = locked
        return merges

    def _is_held(self, bundle: Bundle) -> bool:
        return all(
            self._owners[self._person(bundle.connection_id, message.contact)] in self._locked
            for message in bundle.chat
        )

    def _merge(self, merge: Merge) -> None:
        both = [merge.keeper, merge.merged]
        instants = [one for one in (self._closable_until, self._held_here()) if one is not None]
        until = min(instants, default=None)
        self.outcome.close(sessions.close_overdue_of(self._db, both, until=until))
        for kept, replaced in sessions.join_open(self._db, merge.keeper, merge.merged):
            self.outcome.arm(kept)
            self.outcome.forget(Member(kept.business_id, replaced))
        contacts.merge(self._db, merge)
        log.info("contacts_merged", keeper=str(merge.keeper), merged=str(merge.merged))

    def _apply(self, connection_id: ConnectionId, event: Event) -> None:
        if isinstance(event, MessageChange):
            self._change(connection_id, event)
        elif isinstance(event, DeliveryStatus):
            self._note_status(connection_id, event)
        elif isinstance(event, ConnectionUpdate):
            self._note_state(connection_id, event)

    def _note_state(self, connection_id: ConnectionId, update: ConnectionUpdate) -> None:
        if connections.note_state(self._db, connection_id, update):
            log.info(
                "connection_state",
                connection_id=str(connection_id),
                state=update.state.value,
                reason=None if update.reason is None else update.reason.value,
            )

    def _note_status(self, connection_id: ConnectionId, status: DeliveryStatus) -> None:
        if messages.set_status(self._db, connection_id, status):
            return
        early_statuses.lock(self._db, connection_id, status.provider_message_id)
        if messages.set_status(self._db, connection_id, status):
            return  # known since a moment
        if not messages.is_held(self._db, connection_id, status.provider_message_id):
            early_statuses.keep(self._db, connection_id, status)

    def _change(self, connection_id: ConnectionId, change: MessageChange) -> None:
        # Asked first: a message that is stored between the two is found by the sweep.
        if messages.is_held(self._db, connection_id, change.target):
            messages.apply_change(self._db, connection_id, change)
        else:
            early_changes.keep(self._db, connection_id, change)

    def _record_chat(self, bundles: Sequence[Bundle]) -> Answers:
        named = [
            ((bundle.connection_id, message.provider_message_id), message)
            for bundle in bundles
            for message in bundle.chat
        ]
        if not named:
            return {bundle: [] for bundle in bundles}
        chats = {self._chat_of(connection_id, message) for (connection_id, _), message in named}
        found = sessions.lock_open(self._db, chats)
        # Only under these locks: who closed a session before did so earlier than now, so that no
        # message arrives before the end of a session and is in the next one.
        held, now = messages.held_now(self._db, dict.fromkeys(name for name, _ in named))
        fresh: dict[MessageName, ChatMessage] = {}
        for name, message in named:
            if name not in held:
                fresh.setdefault(name, message)
        waited = {
            (bundle.connection_id, message.provider_message_id): bundle.waited_since
            for bundle in bundles
            for message in bundle.chat
            if bundle.waited_since is not None
        }
        drafts = self._place(fresh, found, now, waited) if fresh else {}
        for connection_id in {name[0] for name, one in named if not _is_queued(one)}:
            if self._rules[connection_id].is_new:
                # Not every gateway tells its state; messages say that the link works.
                works = ConnectionUpdate(state=ConnectionState.CONNECTED)
                connections.note_state(self._db, connection_id, works)
        return self._answer(bundles, held, drafts)

    def _answer(
        self,
        bundles: Sequence[Bundle],
        held: Mapping[MessageName, SessionId],
        drafts: Mapping[MessageName, Draft],
    ) -> Answers:
        answered: set[MessageName] = set()
        opened: set[SessionId] = set()
        answers: Answers = {}
        for bundle in bundles:
            answers[bundle] = []
            for message in bundle.chat:
                name = (bundle.connection_id, message.provider_message_id)
                duplicate = name in held or name in answered
                answered.add(name)
                session_id = held[name] if name in held else SessionId(drafts[name].id)
                is_first = not duplicate and drafts[name].is_new and session_id not in opened
                if is_first:
                    opened.add(session_id)
                answers[bundle].append(Recorded(name[1], session_id, is_first, duplicate))
        return answers

    def _chat_of(self, connection_id: ConnectionId, message: ChatMessage) -> Chat:
        return connection_id, self._owners[self._person(connection_id, message.contact)]

    def _place(
        self,
        fresh: dict[MessageName, ChatMessage],
        found: Mapping[Chat, Draft],
        now: datetime,
        waited: Mapping[MessageName, datetime],
    ) -> dict[MessageName, Draft]:
        by_chat: dict[Chat, list[ChatMessage]] = defaultdict(list)
        all_rules: dict[Chat, Rules] = {}
        for name, message in fresh.items():
            chat = self._chat_of(name[0], message)
            by_chat[chat].append(message)
            all_rules[chat] = self._placement_rules(name[0], now, waited.get(name))
        open_sessions = self._close_overdue(
            {chat: draft for chat, draft in found.items() if chat in by_chat},
            {chat: rules.arrived_at for chat, rules in all_rules.items()},
        )
        rows: list[dict[str, Any]] = []
        drafts: dict[MessageName, Draft] = {}
        extended: dict[int, Draft] = {}
        openings: dict[Chat, list[_Opening]] = defaultdict(list)
        for chat, theirs in by_chat.items():
            connection_id, contact_id = chat
            rules = all_rules[chat]
            current, just_closed = open_sessions.get(chat, (None, []))
            placed = place(
                theirs,
                open_session=current,
                closed_sessions=just_closed + self._lock_spanning(chat, theirs, just_closed, rules),
                rules=rules,
            )
            begun: set[int] = set()
            for message, draft in placed:
                if not draft.is_new:
                    extended[id(draft)] = draft
                elif id(draft) not in begun:
                    begun.add(id(draft))
                    openings[chat].append(_Opening(draft, message.contact))
                rows.append(self._message_row(connection_id, message, draft, rules.arrived_at))
                drafts[connection_id, message.provider_message_id] = draft
                if message.customer_name:
                    self._locked[contact_id].name = message.customer_name
        if openings:
            self._insert(openings)
        if extended:
            self._extend(list(extended.values()))
        messages.add(self._db, rows)
        self._save_contacts()
        return drafts

    def _close_overdue(
        self, found: Mapping[Chat, Draft], arrivals: Mapping[Chat, datetime]
    ) -> dict[Chat, tuple[Draft | None, list[Draft]]]:
        """Close those locked sessions that are overdue: ``(still open, just closed)`` each."""
        overdue = {
            chat: draft
            for chat, draft in found.items()
            if draft.deadline_at <= min(arrivals[chat], self._held_after or arrivals[chat])
        }
        if overdue:
            ids = [draft.id for draft in overdue.values()]
            self.outcome.close(sessions.close_locked(self._db, ids, CloseReason.IDLE))
        answer: dict[Chat, tuple[Draft | None, list[Draft]]] = {}
        for chat, draft in found.items():
            if chat in overdue:
                draft.closed_at, draft.close_reason = arrivals[chat], CloseReason.IDLE
                answer[chat] = (None, [draft])
            else:
                answer[chat] = (draft, [])
        return answer

    def _lock_spanning(
        self, chat: Chat, theirs: Sequence[ChatMessage], known: Sequence[Draft], rules: Rules
    ) -> list[Draft]:
        counted = (counted_at(message, rules.arrived_at) for message in theirs)
        late = [at for at in counted if at < rules.now]
        if not late:
            return []
        found = sessions.lock_spanning(self._db, chat, min(late), max(late))
        known_ids = {draft.id for draft in known}
        return [draft for draft in found if draft.id not in known_ids]

    def _extend(self, drafts: Sequence[Draft]) -> None:
        extended = sessions.extend(self._db, drafts)
        still_open = {draft.id for draft in drafts if draft.is_open}
        for one in extended:
            if one.session_id in still_open:
                self.outcome.arm(one)
                continue
            attempt = sessions.ask_summary_again(self._db, one.session_id)
            if attempt is not None:
                self.outcome.want(SummaryJob(one.session_id, attempt))

    def _insert(self, openings: dict[Chat, list[_Opening]]) -> None:
        new = [
            self._new_session(chat, opening)
            for chat, theirs in openings.items()
            for opening in theirs
        ]
        inserted = sessions.insert(self._db, new)
        closed = [SessionId(one.draft.id) for one in new if not one.draft.is_open]
        for one in inserted:
            if one.session_id not in closed:
                self.outcome.arm(one)
        if closed:
            self.outcome.close(sessions.closed_at_birth(self._db, closed))

    def _new_session(self, chat: Chat, opening: _Opening) -> NewSession:
        connection_id, contact_id = chat
        contact = self._locked[contact_id]
        contact.session_count += 1
        customer = opening.customer
        best = customer.best if customer.phone else contacts.best_id(self._db, contact_id)
        return NewSession(
            draft=opening.draft,
            business_id=self._rules[connection_id].business_id,
            connection_id=connection_id,
            contact_id=contact_id,
            customer_wa_id=best or customer.best,
            number=contact.session_count,
            context_json=opening.context_json,
        )

    def _save_contacts(self) -> None:
        changed = [contact for contact in self._locked.values() if contact.is_changed]
        if changed:
            contacts.save(self._db, changed)

    def _message_row(
        self, connection_id: ConnectionId, message: ChatMessage, draft: Draft, arrived_at: datetime
    ) -> dict[str, Any]:
        return {
            **_row(connection_id, message),
            "business_id": str(self._rules[connection_id].business_id),
            "session_id": str(draft.id),
            "received_at": arrived_at.isoformat(),
            "placed_at": min(message.sent_at or arrived_at, arrived_at).isoformat(),
        }


def _order_of_locks(item: tuple[ConnectionId, Event]) -> tuple[ConnectionId, str]:
    connection_id, event = item
    match event:
        case MessageChange():
            return connection_id, event.target
        case DeliveryStatus():
            return connection_id, event.provider_message_id
        case _:
            return connection_id, ""


def _is_queued(message: ChatMessage) -> bool:
    """Tell a message that is yet to be sent: it says nothing of whether the link works."""
    return isinstance(message, OwnMessage) and message.status is Delivery.QUEUED


def _row(connection_id: ConnectionId, message: ChatMessage) -> dict[str, Any]:
    """Return what a message's row says of itself, JSON-ready."""
    return {
        "id": str((isinstance(message, OwnMessage) and message.id) or new_id()),
        "connection_id": str(connection_id),
        "provider_message_id": message.provider_message_id,
        "direction": message.direction.value,
        "author": message.author.value,
        "type": message.type,
        "text": message.text,
        "media": message.media.as_json() if message.media else None,
        "reply_to": message.reply_to,
        "payload": message.payload,
        "extra": message.extra or None,
        "sent_at": message.sent_at.isoformat() if message.sent_at else None,
        "status": message.status.value if isinstance(message, OwnMessage) else None,
    }


def _item(nth: int, connection_id: ConnectionId, message: ChatMessage) -> dict[str, Any]:
    """Return a message as ``continue_sessions`` takes it."""
    pairs = message.contact.pairs()
    return {
        **_row(connection_id, message),
        "nth": nth,
        "kinds": [kind for kind, _ in pairs],
        "names": [value for _, value in pairs],
        "customer_name": message.customer_name or None,
    }
