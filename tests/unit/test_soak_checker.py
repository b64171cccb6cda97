"""Every kind of violation the soak's checker knows, each fed to it: a zero of its means zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.soak.checker import check
from benchmarks.soak.evidence import (
    Evidence,
    MessageRow,
    Rows,
    SessionRow,
    StateChange,
    SummaryRow,
)
from benchmarks.soak.fakes import text_of
from benchmarks.soak.history import Count, ModelCall, Sent, Struck, Told, name_of

S = 1_000_000
GAP = 3 * S
T0 = 1_800_000_000 * S
LINE, OTHER_LINE = "line-1", "line-2"
SHOP, CUSTOMER, PHONE = "shop", "customer", "972500000001"


class World:
    """A flawless soak, small enough to read; tests break it.

    Session A: messages 1 and 2 (the customer's) and 3 (the agent's). Session B: message 4, after a
    silence. Session C: message 5, sent two minutes before it was brought. Session D: message 6, the
    agent's, which nobody answered.
    """

    def __init__(self) -> None:
        self.sent: dict[int, Sent] = {}
        self.messages: dict[int, MessageRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.changes: list[StateChange] = []
        self.summaries: dict[str, SummaryRow] = {}
        self.stored: Counter[str] = Counter()
        self.model_calls: list[ModelCall] = []
        self.told: list[Told] = []
        self.counts: list[Count] = []
        self.struck: list[Struck] = []
        self.wrong: list[str] = []
        self.say(1, "A", 0.0)
        self.say(2, "A", 2.0)
        self.say(3, "A", 2.5, is_customers=False)
        self.hold("A", 0.0, deadline_s=5.0, closed_s=5.004)
        self.say(4, "B", 9.0)
        self.hold("B", 9.0, deadline_s=12.0, closed_s=12.001)
        self.say(5, "C", 20.0, late_s=120.0)
        self.hold("C", -100.0, deadline_s=-97.0, closed_s=20.001, reason="recovered")
        self.say(6, "D", 30.0, is_customers=False)
        self.hold("D", 30.0, deadline_s=33.0, closed_s=33.002, is_summarised=False)
        self.counts = [
            self.count(at_s, found) for at_s, found in ((-2, 0), (3, 1), (7, 0), (31, 1))
        ]

    def say(
        self,
        number: int,
        session: str,
        at_s: float,
        *,
        late_s: float = 0.0,
        is_customers: bool = True,
    ) -> None:
        at = T0 + int(at_s * S)
        name = f"wamid.{number}"
        self.sent[number] = Sent(
            number,
            name,
            LINE,
            PHONE,
            is_customers,
            at - int(late_s * S),
            first_invoked_us=at - 2_000,
            acknowledged_us=at + 3_000,
            was_taken_at_once=True,
        )
        direction = "in" if is_customers else "out"
        self.messages[number] = MessageRow(
            f"row-{number}", LINE, name, session, text_of(number), direction, at, PHONE, at + 1_000
        )

    def hold(
        self,
        session: str,
        began_s: float,
        *,
        deadline_s: float,
        closed_s: float,
        reason: str = "idle",
        is_summarised: bool = True,
    ) -> None:
        began, deadline, closed = (T0 + int(at * S) for at in (began_s, deadline_s, closed_s))
        numbers = [one for one, row in self.messages.items() if row.session_id == session]
        self.sessions[session] = SessionRow(
            session, SHOP, LINE, CUSTOMER, "closed", reason, began, deadline, closed,
            len(numbers), "done" if is_summarised else "skipped", None,
        )  # fmt: skip
        if reason == "recovered":
            self.changes.append(StateChange(session, None, "closed", closed))
        else:
            self.changes.append(StateChange(session, None, "open", began + 500))
            self.changes.append(StateChange(session, "open", "closed", closed + 100))
        self.told.append(Told(closed + 10_000, session))
        if is_summarised:
            text = ", ".join(f"order {one:07d}" for one in numbers)
            ids = tuple(self.messages[one].id for one in numbers)
            self.summaries[session] = SummaryRow(session, "openai", text, ids)
            self.stored[session] = 1
            self.model_calls.append(ModelCall(closed + 5_000, tuple(numbers), "good", True))

    @staticmethod
    def count(at_s: float, found: int) -> Count:
        at = T0 + int(at_s * S)
        return Count(at, at + 5_000, SHOP, found)

    def change(self, session: str, **changes: Any) -> None:
        self.sessions[session] = replace(self.sessions[session], **changes)

    def move(self, number: int, **changes: Any) -> None:
        self.messages[number] = replace(self.messages[number], **changes)

    def spool(self, number: int, until_s: float) -> None:
        """Let a message wait in a spool."""
        self.move(number, stored_us=T0 + int(until_s * S))

    def summarise(self, session: str, **changes: Any) -> None:
        self.summaries[session] = replace(self.summaries[session], **changes)

    def shift_change(self, session: str, became: str, by_us: int) -> None:
        self.changes = [
            replace(one, at_us=one.at_us + by_us)
            if (one.session_id, one.became) == (session, became)
            else one
            for one in self.changes
        ]

    def evidence(self) -> Evidence:
        rows = Rows(
            list(self.messages.values()),
            list(self.sessions.values()),
            sorted(self.changes, key=lambda one: one.at_us),
            list(self.summaries.values()),
            self.stored,
        )
        sent = {name_of(one.connection_id, one.message_id): one for one in self.sent.values()}
        return Evidence(
            GAP, sent, rows, self.model_calls, self.told, self.counts, self.struck, self.wrong
        )

    def kinds(self) -> set[str]:
        return {one.kind for one in check(self.evidence())}


def test_a_flawless_soak_has_no_violation() -> None:
    assert check(World().evidence()) == []


def lose(world: World) -> None:
    del world.messages[2]


def double(world: World) -> None:
    world.messages[99] = replace(world.messages[2], id="row-99")


def double_elsewhere(world: World) -> None:
    world.messages[99] = replace(world.messages[2], id="row-99", session_id="B")


def alter(world: World) -> None:
    world.move(2, text="Is order 0000009 on its way?")


def turn_round(world: World) -> None:
    world.move(3, direction="in")


def give_to_another(world: World) -> None:
    world.move(2, phone="972500000002")


def invent(world: World) -> None:
    world.messages[99] = replace(world.messages[2], id="row-99", provider_message_id="wamid.99")


def put_on_another_line(world: World) -> None:
    world.change("B", connection_id=OTHER_LINE)


def date_before_it_was_brought(world: World) -> None:
    world.move(4, received_us=world.messages[4].received_us - 3_000)


def date_after_it_was_acknowledged(world: World) -> None:
    world.move(2, received_us=world.messages[2].received_us + 4_000)


def leave_unacknowledged(world: World) -> None:
    world.sent[4].acknowledged_us = None


def refuse_for_good(world: World) -> None:
    world.wrong.append("message 4 at web-1: 401")


def leave_open(world: World) -> None:
    world.change("B", state="open", closed_us=None, close_reason=None)
    world.changes = [one for one in world.changes if (one.session_id, one.was) != ("B", "open")]


def close_again(world: World) -> None:
    world.changes.append(StateChange("B", "closed", "closed", T0 + 13 * S))


def reopen(world: World) -> None:
    world.changes.append(StateChange("B", "closed", "open", T0 + 13 * S))


def delete_session(world: World) -> None:
    world.changes.append(StateChange("E", None, "open", T0 + 40 * S))


def close_at_birth(world: World) -> None:
    world.changes = [one for one in world.changes if one.session_id != "B"]
    world.changes.append(StateChange("B", None, "closed", T0 + 12 * S))


def complete(world: World) -> None:
    world.change("B", close_reason="completed")


def miscount(world: World) -> None:
    world.change("A", message_count=4)


def close_early(world: World) -> None:
    early_us = world.messages[4].received_us + GAP - 1
    world.change("B", closed_us=early_us)
    world.shift_change("B", "closed", early_us - (T0 + 12 * S + 1_100))


def close_early_and_lie(world: World) -> None:
    world.shift_change("B", "closed", -10_000)


def pretend_it_came_earlier(world: World) -> None:
    """Received before it was brought, and closed a gap after that: early by the driver's clock."""
    world.move(4, received_us=world.messages[4].received_us - 5_000)
    world.change("B", closed_us=T0 + 12 * S - 4_000, deadline_us=T0 + 12 * S - 5_000)


def split(world: World) -> None:
    world.move(2, session_id="B", received_us=T0 + int(2.999 * S))
    world.move(3, session_id="B")


def overstay(world: World) -> None:
    world.move(4, session_id="A")


def stay_to_the_very_end(world: World) -> None:
    """A message that came just as the gap was over is the next session's."""
    world.move(2, received_us=T0 + 3 * S)


def join_a_closed_session(world: World) -> None:
    world.change("A", closed_us=T0 + S)


def put_off(world: World) -> None:
    world.change("A", deadline_us=T0 + int(5.5 * S))


def touch_for_the_agent(world: World) -> None:
    world.change("A", deadline_us=T0 + int(5.5 * S), closed_us=T0 + int(5.6 * S))
    world.shift_change("A", "closed", int(0.6 * S))


def open_two(world: World) -> None:
    world.shift_change("B", "open", -5 * S)


def summarise_never(world: World) -> None:
    del world.summaries["B"]
    world.change("B", summary_status="failed")


def skip_what_is_worth_it(world: World) -> None:
    del world.summaries["B"]
    world.change("B", summary_status="skipped")


def summarise_twice(world: World) -> None:
    world.stored["B"] = 2


def leave_unsettled(world: World) -> None:
    world.change("B", summary_status="running")


def summarise_with_anothers(world: World) -> None:
    world.summarise("B", message_ids=("row-4", "row-1"))


def summarise_with_one_twice(world: World) -> None:
    world.summarise("B", message_ids=("row-4", "row-4"))


def summarise_without_the_last(world: World) -> None:
    world.summarise("A", message_ids=("row-1", "row-2"))


def tell_of_anothers(world: World) -> None:
    world.summarise("B", text="order 0000004, order 0000001")


def summarise_nothing(world: World) -> None:
    world.summaries["E"] = SummaryRow("E", "openai", "", ())


def ask_of_two(world: World) -> None:
    world.model_calls.append(ModelCall(T0, (3, 4), "good", True))


def ask_of_none(world: World) -> None:
    world.model_calls.append(ModelCall(T0, (77,), "good", True))


def tell_too_soon(world: World) -> None:
    world.told.append(Told(T0 + 11 * S, "B"))


def never_tell(world: World) -> None:
    world.told = [one for one in world.told if one.session_id != "B"]


def count_one_too_many(world: World) -> None:
    world.counts.append(world.count(7.5, 1))


def count_one_too_few(world: World) -> None:
    world.counts.append(world.count(10, 0))


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lose, "lost"),
        (double, "stored twice"),
        (double_elsewhere, "stored twice"),
        (alter, "altered"),
        (turn_round, "altered"),
        (give_to_another, "misplaced"),
        (invent, "invented"),
        (put_on_another_line, "misplaced"),
        (date_before_it_was_brought, "wrong instant"),
        (date_after_it_was_acknowledged, "wrong instant"),
        (leave_unacknowledged, "never taken"),
        (refuse_for_good, "turned away"),
        (leave_open, "never closed"),
        (close_again, "closed twice"),
        (reopen, "wrong course"),
        (delete_session, "session gone"),
        (close_at_birth, "closed at birth"),
        (complete, "wrong reason"),
        (miscount, "miscounted"),
        (close_early, "closed early"),
        (close_early_and_lie, "closed early"),
        (pretend_it_came_earlier, "closed early"),
        (split, "split"),
        (overstay, "overstayed"),
        (stay_to_the_very_end, "overstayed"),
        (join_a_closed_session, "joined a closed session"),
        (put_off, "wrong deadline"),
        (touch_for_the_agent, "wrong deadline"),
        (open_two, "two open"),
        (summarise_never, "not summarised"),
        (skip_what_is_worth_it, "not summarised"),
        (summarise_twice, "summarised twice"),
        (leave_unsettled, "summary unsettled"),
        (summarise_with_anothers, "foreign in a summary"),
        (summarise_with_one_twice, "foreign in a summary"),
        (summarise_without_the_last, "missing in a summary"),
        (tell_of_anothers, "foreign in a summary"),
        (summarise_nothing, "summary of none"),
        (ask_of_two, "mixed prompt"),
        (ask_of_none, "mixed prompt"),
        (tell_too_soon, "told too soon"),
        (never_tell, "never told"),
        (count_one_too_many, "wrong count"),
        (count_one_too_few, "wrong count"),
    ],
)
def test_each_flaw_is_found(break_it: Callable[[World], None], kind: str) -> None:
    world = World()
    break_it(world)
    assert kind in world.kinds()


def close_without_what_waits(world: World) -> None:
    """The last message of A waits, and A closes two seconds after it came, all being well."""
    world.spool(2, 6.0)
    world.change("A", deadline_us=T0 + 3 * S, closed_us=T0 + int(4.1 * S))
    world.shift_change("A", "closed", int(-0.904 * S))


def split_by_a_spool(world: World) -> None:
    world.spool(1, 6.0)
    split(world)


def stay_on_though_nothing_waits_any_more(world: World) -> None:
    world.spool(2, 4.0)
    overstay(world)


def close_twice_what_waited(world: World) -> None:
    world.spool(4, 11.0)
    close_again(world)


class TestWithASpool:
    @pytest.mark.parametrize(
        ("break_it", "kind"),
        [
            (close_without_what_waits, "closed early"),
            (split_by_a_spool, "split"),
            (stay_on_though_nothing_waits_any_more, "overstayed"),
            (close_twice_what_waited, "closed twice"),
        ],
    )
    def test_each_flaw_is_found(self, break_it: Callable[[World], None], kind: str) -> None:
        world = World()
        break_it(world)
        assert kind in world.kinds()

    def test_what_waited_and_came_in_time_is_none(self) -> None:
        world = World()
        world.spool(4, 11.0)
        assert world.kinds() == set()

    def test_a_count_without_what_waits_is_none(self) -> None:
        world = World()
        world.spool(4, 11.0)
        world.counts.append(world.count(10, 0))
        assert world.kinds() == set()

    @pytest.mark.parametrize("target", ["web-2", "redis", "way to postgres"])
    def test_a_close_that_could_not_know_of_it_is_none(self, target: str) -> None:
        world = World()
        close_without_what_waits(world)
        world.struck.append(Struck("partition", target, T0 + 3 * S, T0 + 4 * S))
        assert world.kinds() == set()

    def test_what_was_replayed_when_the_next_session_had_closed_is_none(self) -> None:
        """Another host's message opened and ended a session while the first one waited."""
        world = World()
        world.say(7, "E", 50.0)
        world.hold("E", 50.0, deadline_s=53.0, closed_s=61.0)
        world.say(8, "F", 52.0)
        world.hold("F", 52.0, deadline_s=55.0, closed_s=55.1)
        world.shift_change("E", "open", 10 * S)
        world.spool(7, 60.0)
        assert world.kinds() == {"split"}
        world.struck.append(Struck("hang", "web-2", T0 + 53 * S, T0 + 54 * S))
        assert world.kinds() == set()

    def test_a_fault_that_lets_hosts_be_heard_is_no_reason(self) -> None:
        world = World()
        close_without_what_waits(world)
        world.struck.append(Struck("down", "postgres", T0 + 3 * S, T0 + 4 * S))
        assert world.kinds() == {"closed early"}

    def test_a_close_that_overtook_it_by_a_moment_is_none(self) -> None:
        world = World()
        close_without_what_waits(world)
        world.change("A", closed_us=T0 + 3 * S)
        world.shift_change("A", "closed", -1 * S)
        assert world.kinds() == set()

    def test_a_session_that_stays_open_while_something_waits_is_none(self) -> None:
        world = World()
        world.say(7, "E", 50.0)
        world.say(8, "E", 53.5)
        world.hold("E", 50.0, deadline_s=56.5, closed_s=56.6)
        world.say(9, "F", 52.9)
        world.hold("F", 52.9, deadline_s=55.9, closed_s=56.0)
        world.sessions["F"] = replace(world.sessions["F"], contact_id="another")
        assert "overstayed" in world.kinds()
        world.spool(9, 54.0)
        assert world.kinds() == set()

    def test_what_was_stored_from_a_second_call_is_none(self) -> None:
        world = World()
        date_after_it_was_acknowledged(world)
        world.spool(2, 3.0)
        world.sent[2].calls = 2
        world.change("A", deadline_us=T0 + 5 * S + 4_000)
        assert world.kinds() == set()

    def test_a_session_that_the_agents_second_message_opened_is_none(self) -> None:
        """The first waited; an agent's message moves the deadline only where it opens."""
        world = World()
        world.say(7, "E", 50.0, is_customers=False)
        world.say(8, "E", 51.0, is_customers=False)
        world.spool(7, 52.0)
        world.hold("E", 50.0, deadline_s=54.0, closed_s=54.1, is_summarised=False)
        assert world.kinds() == set()


class TestWhatIsNoFlaw:
    def test_a_refused_message_that_is_not_there(self) -> None:
        world = World()
        world.sent[7] = replace(world.sent[4], number=7, message_id="wamid.7", acknowledged_us=None)
        assert world.kinds() == {"never taken"}

    def test_a_late_message_that_joins_the_closed_session_it_belongs_to(self) -> None:
        world = World()
        world.say(7, "A", 100.0, late_s=97.0)
        world.change("A", message_count=4)
        world.summarise("A", message_ids=("row-1", "row-2", "row-3", "row-7"))
        world.stored["A"] = 2
        assert world.kinds() == set()

    def test_a_message_that_fell_due_while_nobody_looked_opens_the_next_session(self) -> None:
        world = World()
        world.say(7, "E", 15.0)
        world.hold("E", 15.0, deadline_s=18.0, closed_s=19.9)
        assert world.kinds() == set()

    def test_a_count_during_a_fault_or_just_after_it(self) -> None:
        world = World()
        world.counts.append(world.count(10, 0))
        world.struck.append(Struck("flush", "redis", T0 + 8 * S, T0 + 9 * S))
        assert world.kinds() == set()

    def test_a_count_without_a_session_whose_touch_redis_may_not_have_been_told_of(self) -> None:
        """At the end of the touch before it, for as long as its event is looked into."""
        world = World()
        world.say(7, "E", 50.0)
        world.say(8, "E", 52.9)
        world.hold("E", 50.0, deadline_s=55.9, closed_s=56.0)
        world.counts.append(world.count(53.5, 0))
        assert world.kinds() == {"wrong count"}
        world.struck.append(Struck("lose_script", "way to redis", T0 + 49 * S, T0 + int(50.1 * S)))
        assert world.kinds() == set()

    def test_a_count_without_a_session_whose_first_message_is_not_answered_yet(self) -> None:
        world = World()
        world.sent[4].acknowledged_us = T0 + int(10.5 * S)
        world.counts.append(world.count(10, 0))
        assert world.kinds() == set()

    def test_a_callback_made_twice(self) -> None:
        world = World()
        world.told.append(Told(T0 + 14 * S, "B"))
        assert world.kinds() == set()

    def test_an_extractive_summary_that_quotes_one_message(self) -> None:
        world = World()
        world.summarise("A", summarizer="extractive", text=text_of(2))
        assert world.kinds() == set()
