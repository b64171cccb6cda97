"""Which session a message belongs to, for every order, lateness and gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from timer_service.messages import CloseReason as Reason
from timer_service.messages import ContactIds, InboundMessage, OwnMessage, TouchOn
from timer_service.placement import LATE_AFTER, Draft, Rules, counted_at, open_now, place

NOW = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
GAP = timedelta(minutes=15)
CUSTOMER = ContactIds(phone="972500000001")

Chat = InboundMessage | OwnMessage


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def heard(minutes_ago: float | None = None) -> InboundMessage:
    sent_at = None if minutes_ago is None else ago(minutes_ago)
    return InboundMessage(provider_message_id=str(uuid4()), contact=CUSTOMER, sent_at=sent_at)


def said(minutes_ago: float | None = None) -> OwnMessage:
    sent_at = None if minutes_ago is None else ago(minutes_ago)
    return OwnMessage(provider_message_id=str(uuid4()), contact=CUSTOMER, sent_at=sent_at)


def rules(*, gap: timedelta = GAP, touch_on: TouchOn = TouchOn.CUSTOMER) -> Rules:
    return Rules(NOW, gap, touch_on)


def open_session(began: float, touched: float, *, gap: timedelta = GAP) -> Draft:
    """A session that began and was last touched so many minutes ago."""
    return Draft(
        id=uuid4(),
        started_at=ago(began),
        last_touch_at=ago(touched),
        deadline_at=ago(touched) + gap,
        last_message_at=ago(touched),
        last_customer_message_at=ago(touched),
    )


def closed_session(
    began: float, touched: float, *, reason: Reason = Reason.IDLE, closed: float | None = None
) -> Draft:
    draft = open_session(began, touched)
    draft.closed_at = draft.deadline_at if closed is None else ago(closed)
    draft.close_reason = reason
    return draft


def place_one(
    message: Chat,
    *,
    current: Draft | None = None,
    closed: Sequence[Draft] = (),
    by: Rules | None = None,
) -> Draft:
    placed = place([message], open_session=current, closed_sessions=closed, rules=by or rules())
    assert [one for one, _ in placed] == [message]
    return placed[0][1]


class TestWhenAMessageCounts:
    def test_a_message_counts_at_its_arrival(self) -> None:
        assert counted_at(heard(), NOW) == NOW
        assert counted_at(heard(0.5), NOW) == NOW
        assert counted_at(heard(LATE_AFTER.total_seconds() / 60), NOW) == NOW

    def test_one_sent_more_than_a_minute_earlier_counts_at_its_sending(self) -> None:
        late = heard(1.001)
        assert counted_at(late, NOW) == late.sent_at

    def test_a_sender_whose_clock_is_ahead_moves_nothing_into_the_future(self) -> None:
        assert counted_at(heard(-60), NOW) == NOW


class TestOpenSessions:
    def test_the_first_message_opens_one_for_the_gap(self) -> None:
        draft = place_one(heard())
        assert draft.is_new
        assert draft.is_open
        assert (draft.started_at, draft.deadline_at) == (NOW, NOW + GAP)

    def test_an_opening_outgoing_message_gets_a_deadline_too(self) -> None:
        draft = place_one(said())
        assert draft.is_open
        assert draft.deadline_at == NOW + GAP
        assert draft.last_message_at == NOW
        assert draft.last_customer_message_at is None

    def test_a_customers_message_moves_the_deadline_to_it_plus_the_gap(self) -> None:
        current = open_session(10, 5)
        assert place_one(heard(), current=current) is current
        assert current.deadline_at == NOW + GAP
        assert current.last_customer_message_at == NOW

    def test_an_outgoing_message_does_not_touch(self) -> None:
        current = open_session(10, 5)
        assert place_one(said(), current=current) is current
        assert (current.deadline_at, current.last_touch_at) == (ago(5) + GAP, ago(5))
        assert current.last_message_at == NOW
        assert current.last_customer_message_at == ago(5)

    def test_an_outgoing_message_touches_where_the_business_chose_any(self) -> None:
        current = open_session(10, 5)
        place_one(said(), current=current, by=rules(touch_on=TouchOn.ANY))
        assert current.deadline_at == NOW + GAP

    def test_a_late_message_touches_at_its_sending(self) -> None:
        current = open_session(10, 8)
        place_one(heard(3), current=current)
        assert current.deadline_at == ago(3) + GAP

    def test_a_message_later_than_its_followers_does_not_pull_the_deadline_back(self) -> None:
        current = open_session(10, 1)
        place_one(heard(3), current=current)
        assert current.deadline_at == ago(1) + GAP

    def test_a_longer_gap_applies_from_the_next_touch(self) -> None:
        current = open_session(10, 5)
        longer = rules(gap=timedelta(hours=2))
        place_one(said(), current=current, by=longer)
        assert current.deadline_at == ago(5) + GAP
        place_one(heard(), current=current, by=longer)
        assert current.deadline_at == NOW + timedelta(hours=2)

    def test_a_shorter_gap_may_shorten_the_deadline_with_the_next_touch(self) -> None:
        current = open_session(10, 5)
        place_one(heard(), current=current, by=rules(gap=timedelta(minutes=1)))
        assert current.deadline_at == NOW + timedelta(minutes=1)

    def test_a_late_message_that_still_counts_moves_the_beginning(self) -> None:
        current = open_session(5, 5)
        assert place_one(heard(7), current=current) is current
        assert current.started_at == ago(7)

    def test_a_session_begun_without_a_message_has_a_deadline(self) -> None:
        draft = open_now(rules())
        assert draft.is_open
        assert (draft.deadline_at, draft.last_message_at) == (NOW + GAP, None)


class TestLateMessages:
    def test_one_within_a_closed_sessions_span_joins_it(self) -> None:
        closed = closed_session(90, 80)
        before = closed.deadline_at
        assert place_one(heard(85), closed=[closed]) is closed
        assert (closed.added, closed.deadline_at, closed.closed_at) == (1, before, before)

    def test_the_span_reaches_to_the_deadline_and_not_beyond(self) -> None:
        assert place_one(heard(65), closed=[closed := closed_session(90, 80)]) is closed
        after = place_one(heard(64.9), closed=[closed_session(90, 80)])
        assert after.is_new

    def test_the_span_of_a_completed_session_ends_when_it_was_completed(self) -> None:
        completed = closed_session(90, 80, reason=Reason.COMPLETED, closed=75)
        assert place_one(heard(76), closed=[completed]) is completed
        completed = closed_session(90, 80, reason=Reason.COMPLETED, closed=75)
        assert place_one(heard(74), closed=[completed]).close_reason is Reason.RECOVERED

    def test_one_of_no_session_makes_one_closed_at_birth(self) -> None:
        draft = place_one(heard(60))
        assert (draft.is_new, draft.is_open) == (True, False)
        assert draft.close_reason is Reason.RECOVERED
        assert (draft.started_at, draft.deadline_at) == (ago(60), ago(60) + GAP)

    def test_one_sent_less_than_the_gap_ago_keeps_the_chat_alive_until_its_own_deadline(
        self,
    ) -> None:
        draft = place_one(heard(10))
        assert draft.is_open
        assert draft.deadline_at == ago(10) + GAP

    def test_one_that_belongs_to_a_completed_session_does_not_join_the_next(self) -> None:
        completed = closed_session(12, 11, reason=Reason.COMPLETED, closed=6)
        current = open_session(5, 5)
        assert place_one(heard(8), current=current, closed=[completed]) is completed
        assert (current.started_at, current.added) == (ago(5), 0)

    def test_one_after_the_open_session_began_joins_it_however_late(self) -> None:
        current = open_session(50, 2)
        assert place_one(heard(40), current=current) is current
        assert current.deadline_at == ago(2) + GAP

    def test_an_old_one_does_not_reach_the_open_session(self) -> None:
        current = open_session(5, 5)
        draft = place_one(heard(60), current=current)
        assert draft is not current
        assert draft.close_reason is Reason.RECOVERED

    def test_a_message_that_is_not_late_never_joins_a_closed_session(self) -> None:
        just_closed = closed_session(30, 15)
        assert just_closed.spans(NOW)
        assert place_one(heard(), closed=[just_closed]).is_new

    def test_a_backlog_is_split_where_the_customer_fell_silent(self) -> None:
        backlog = [heard(100), heard(95), heard(60), heard(50)]
        placed = place(backlog, open_session=None, closed_sessions=[], rules=rules())
        drafts = list({id(draft): draft for _, draft in placed}.values())
        assert [one.added for one in drafts] == [2, 2]
        assert [one.deadline_at for one in drafts] == [ago(95) + GAP, ago(50) + GAP]

    def test_a_recovered_session_grows_no_further_than_its_birth(self) -> None:
        backlog = [heard(20), heard(16)]
        placed = place(backlog, open_session=None, closed_sessions=[], rules=rules())
        assert {draft.close_reason for _, draft in placed} == {Reason.RECOVERED}
        again = placed[0][1]
        later = Rules(NOW + timedelta(minutes=20), GAP, TouchOn.CUSTOMER)
        place([heard(4)], open_session=None, closed_sessions=[again], rules=later)
        assert again.deadline_at <= NOW

    def test_one_that_keeps_the_chat_alive_opens_a_session_rather_than_join_a_recovered_one(
        self,
    ) -> None:
        placed = place([said(20), heard(10)], open_session=None, closed_sessions=[], rules=rules())
        assert [draft.close_reason for _, draft in placed] == [Reason.RECOVERED, None]


# --- Properties -----------------------------------------------------------------------------


@dataclass
class History:
    """One contact's sessions, fed as intake feeds ``place``: overdue closed first, then placed."""

    gap: timedelta
    touch_on: TouchOn
    sessions: list[Draft]

    def feed(self, messages: Sequence[Chat], now: datetime) -> list[tuple[Chat, Draft]]:
        for one in self.sessions:
            if one.is_open and one.deadline_at <= now:
                one.closed_at, one.close_reason = now, Reason.IDLE
        current = [one for one in self.sessions if one.is_open]
        assert len(current) <= 1
        placed = place(
            messages,
            open_session=current[0] if current else None,
            closed_sessions=[one for one in self.sessions if not one.is_open],
            rules=Rules(now, self.gap, self.touch_on),
        )
        for _, draft in placed:
            if all(draft is not one for one in self.sessions):
                self.sessions.append(draft)
        return placed


minutes = st.integers(0, 120)
chat = st.builds(lambda is_in, delay: (is_in, delay), st.booleans(), st.one_of(st.none(), minutes))
steps = st.lists(
    st.tuples(st.integers(0, 40), st.lists(chat, min_size=1, max_size=5), st.integers(1, 60)),
    min_size=1,
    max_size=8,
)
touching = st.sampled_from(TouchOn)


def message_at(now: datetime, is_in: bool, delay: int | None) -> Chat:
    sent_at = None if delay is None else now - timedelta(minutes=delay)
    kind = InboundMessage if is_in else OwnMessage
    return kind(provider_message_id=str(uuid4()), contact=CUSTOMER, sent_at=sent_at)


@given(steps, touching)
def test_every_message_gets_exactly_one_session_and_never_are_two_open(
    story: list[tuple[int, list[tuple[bool, int | None]], int]], touch_on: TouchOn
) -> None:
    history = History(GAP, touch_on, [])
    now = NOW
    for pause, chats, gap_minutes in story:
        now += timedelta(minutes=pause)
        history.gap = timedelta(minutes=gap_minutes)
        messages = [message_at(now, *one) for one in chats]
        placed = history.feed(messages, now)
        assert {id(one) for one, _ in placed} == {id(one) for one in messages}
        assert len(placed) == len(messages)
        assert sum(one.is_open for one in history.sessions) <= 1
    total = sum(len(chats) for _, chats, _ in story)
    assert sum(one.added for one in history.sessions) == total


@given(steps, touching)
def test_a_session_never_ends_before_it_began_and_closed_ones_end_by_their_closing(
    story: list[tuple[int, list[tuple[bool, int | None]], int]], touch_on: TouchOn
) -> None:
    history = History(GAP, touch_on, [])
    now = NOW
    for pause, chats, gap_minutes in story:
        now += timedelta(minutes=pause)
        history.gap = timedelta(minutes=gap_minutes)
        history.feed([message_at(now, *one) for one in chats], now)
        for one in history.sessions:
            assert one.started_at <= one.last_touch_at <= one.deadline_at
            assert one.started_at <= (one.last_message_at or one.started_at) <= now
            if one.closed_at is not None:
                assert one.span_end_at <= one.closed_at <= now
            if one.close_reason is Reason.RECOVERED:
                assert one.deadline_at <= one.closed_at <= now


@given(st.lists(minutes, min_size=1, max_size=8), st.integers(1, 60), touching, st.booleans())
def test_a_late_message_never_makes_a_dead_chat_look_alive(
    delays: list[int], gap_minutes: int, touch_on: TouchOn, is_in: bool
) -> None:
    gap = timedelta(minutes=gap_minutes)
    history = History(gap, touch_on, [])
    history.feed([message_at(NOW, is_in, one) for one in delays], NOW)
    counted = [NOW if one <= 1 else ago(one) for one in delays]
    alive = any(at + gap > NOW for at in counted)
    assert any(one.is_open for one in history.sessions) is alive
    assert all(one.deadline_at > NOW for one in history.sessions if one.is_open)


@given(st.lists(minutes, min_size=1, max_size=6), st.integers(0, 14))
def test_the_deadline_is_the_last_touch_plus_the_gap(delays: list[int], touched: int) -> None:
    current = open_session(130, touched)
    place([heard(one) for one in delays], open_session=current, closed_sessions=[], rules=rules())
    counted = [NOW if one <= 1 else ago(one) for one in delays]
    assert current.deadline_at == max(*counted, ago(touched)) + GAP
    assert current.last_customer_message_at == max(*counted, ago(touched))


@given(st.lists(minutes, min_size=1, max_size=6), st.integers(0, 14))
def test_what_the_business_sends_never_moves_the_deadline(delays: list[int], touched: int) -> None:
    current = open_session(130, touched)
    place([said(one) for one in delays], open_session=current, closed_sessions=[], rules=rules())
    assert current.deadline_at == ago(touched) + GAP


@given(st.permutations([100, 97, 90, 60, 52, 30, 12, 3]))
def test_the_order_within_a_batch_does_not_matter(delays: list[int]) -> None:
    def sizes(order: Sequence[int]) -> list[tuple[datetime, int]]:
        history = History(GAP, TouchOn.CUSTOMER, [])
        history.feed([heard(one) for one in order], NOW)
        return sorted((one.started_at, one.added) for one in history.sessions)

    assert sizes(delays) == sizes(sorted(delays, reverse=True))


@given(steps)
def test_closed_is_final(
    story: list[tuple[int, list[tuple[bool, int | None]], int]],
) -> None:
    history = History(GAP, TouchOn.CUSTOMER, [])
    now = NOW
    closed_before: dict[int, datetime | None] = {}
    for pause, chats, _ in story:
        now += timedelta(minutes=pause)
        history.feed([message_at(now, *one) for one in chats], now)
        for key, closed_at in closed_before.items():
            assert next(one for one in history.sessions if id(one) == key).closed_at == closed_at
        closed_before = {id(one): one.closed_at for one in history.sessions if not one.is_open}


def waited(minutes_ago: float) -> Rules:
    return Rules(NOW, GAP, TouchOn.CUSTOMER, waited_since=ago(minutes_ago))


def test_what_waited_in_a_spool_counts_at_its_arrival_and_touches_from_there() -> None:
    draft = open_now(Rules(ago(30), GAP, TouchOn.CUSTOMER))
    ((_, found),) = place([heard()], open_session=draft, closed_sessions=[], rules=waited(20))
    assert found is draft
    assert draft.deadline_at == ago(20) + GAP
    assert draft.is_open


def test_what_waited_in_a_spool_opens_a_session_that_is_over_by_now() -> None:
    ((_, found),) = place([heard()], open_session=None, closed_sessions=[], rules=waited(60))
    assert (found.is_open, found.started_at, found.deadline_at) == (True, ago(60), ago(60) + GAP)


def test_what_waited_in_a_spool_leaves_an_open_session_alone_that_began_too_late_for_it() -> None:
    later = open_now(Rules(ago(5), GAP, TouchOn.CUSTOMER))
    ((_, found),) = place([heard()], open_session=later, closed_sessions=[], rules=waited(60))
    assert found is not later
    assert (found.close_reason, found.deadline_at) == (Reason.RECOVERED, ago(60) + GAP)
    ((_, joined),) = place([heard()], open_session=later, closed_sessions=[], rules=waited(10))
    assert joined is later
    assert later.started_at == ago(10)


def test_a_clock_ahead_of_postgres_makes_nothing_arrive_in_the_future() -> None:
    assert waited(-1).arrived_at == NOW
