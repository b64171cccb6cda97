"""Decides which session each message belongs to. Pure: intake reads rows, asks here, writes rows.

A message counts at its arrival, unless it was sent more than a minute earlier: then it counts at
its sending, so a backlog delivered late lands where it belongs and never makes a dead chat look
alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from timer_service.ids import new_id
from timer_service.messages import ChatMessage, CloseReason, Direction, TouchOn

M = TypeVar("M", bound=ChatMessage)

LATE_AFTER = timedelta(seconds=60)
"""How much earlier than its arrival a message must have been sent to count at its sending."""


@dataclass(slots=True)
class Draft:
    """A session as this transaction will leave it.

    ``closed_at`` is None while it is open. ``span_end_at`` bounds what may still join a closed
    session: its deadline, or the instant somebody closed it before that.
    """

    id: UUID
    started_at: datetime
    last_touch_at: datetime
    deadline_at: datetime
    last_message_at: datetime | None = None
    last_customer_message_at: datetime | None = None
    closed_at: datetime | None = None
    close_reason: CloseReason | None = None
    is_new: bool = False
    added: int = 0

    @property
    def is_open(self) -> bool:
        """Whether messages may still move its deadline."""
        return self.closed_at is None

    @property
    def span_end_at(self) -> datetime:
        """The last instant that belongs to this session."""
        if self.closed_at is None:
            return self.deadline_at
        return min(self.deadline_at, self.closed_at)

    def spans(self, instant: datetime) -> bool:
        """Tell whether ``instant`` lies within this session."""
        return self.started_at <= instant <= self.span_end_at


@dataclass(frozen=True, slots=True)
class Rules:
    """What the business chose, the present instant by Postgres's clock, and that of arrival.

    They are one and the same, but for what waited in a spool: it is judged at its arrival.
    """

    now: datetime
    idle_gap: timedelta
    touch_on: TouchOn
    waited_since: datetime | None = None

    @property
    def arrived_at(self) -> datetime:
        """When the messages arrived, never later than now."""
        return self.now if self.waited_since is None else min(self.waited_since, self.now)


def counted_at(message: ChatMessage, arrived_at: datetime) -> datetime:
    """Return the instant at which a message counts."""
    if message.sent_at is not None and message.sent_at < arrived_at - LATE_AFTER:
        return message.sent_at
    return arrived_at


def place(
    messages: Iterable[M],
    *,
    open_session: Draft | None,
    closed_sessions: Sequence[Draft],
    rules: Rules,
) -> list[tuple[M, Draft]]:
    """Give each new message of one contact on one connection its session.

    ``open_session`` must not be overdue at their arrival: the caller closes one that is first and
    passes it among ``closed_sessions``, which need hold only those that span a late message. The
    drafts are changed in place; new ones appear in the answer, which is in the order of placement.
    """
    candidates = list(closed_sessions)
    placed: list[tuple[M, Draft]] = []
    for at, message in sorted(
        ((counted_at(message, rules.arrived_at), message) for message in messages),
        key=lambda pair: pair[0],
    ):
        draft = _find(at, open_session, candidates, rules)
        if draft is None:
            # Beside an open one that began later there can be no other open one.
            draft = _begin(at, rules, is_over=open_session is not None)
            if draft.is_open:
                open_session = draft
            else:
                candidates.append(draft)
        _add(draft, message, at, rules)
        placed.append((message, draft))
    return placed


def _find(
    at: datetime, open_session: Draft | None, closed: Sequence[Draft], rules: Rules
) -> Draft | None:
    ends_at = at + rules.idle_gap
    if open_session is not None and open_session.started_at <= at:
        return open_session
    if at < rules.now:
        is_alive = ends_at > rules.now
        for draft in closed:
            # A message that keeps the chat alive does not vanish into a session closed at birth.
            if draft.spans(at) and not (is_alive and draft.close_reason is CloseReason.RECOVERED):
                return draft
    if open_session is None or ends_at <= max(rules.arrived_at, open_session.started_at):
        return None
    return open_session


def open_now(rules: Rules) -> Draft:
    """Begin a session that no message opened."""
    return _begin(rules.now, rules)


def _begin(at: datetime, rules: Rules, *, is_over: bool = False) -> Draft:
    deadline_at = at + rules.idle_gap
    is_over = is_over or deadline_at <= rules.arrived_at
    return Draft(
        id=new_id(),
        started_at=at,
        last_touch_at=at,
        deadline_at=deadline_at,
        closed_at=rules.now if is_over else None,
        close_reason=CloseReason.RECOVERED if is_over else None,
        is_new=True,
    )


def _add(draft: Draft, message: ChatMessage, at: datetime, rules: Rules) -> None:
    draft.added += 1
    draft.started_at = min(draft.started_at, at)
    draft.last_message_at = max(draft.last_message_at or at, at)
    if message.direction is Direction.IN:
        draft.last_customer_message_at = max(draft.last_customer_message_at or at, at)
    if message.direction is not Direction.IN and rules.touch_on is not TouchOn.ANY:
        return
    if draft.is_open:
        draft.last_touch_at = max(draft.last_touch_at, at)
        draft.deadline_at = draft.last_touch_at + rules.idle_gap
    elif draft.close_reason is CloseReason.RECOVERED:
        # Still one conversation as it was sent; its end stays within what is already over.
        draft.last_touch_at = max(draft.last_touch_at, at)
        extended_at = draft.last_touch_at + rules.idle_gap
        draft.deadline_at = max(draft.deadline_at, min(extended_at, draft.closed_at or extended_at))
