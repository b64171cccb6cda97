"""Judges a soak: pure functions over what the outside saw (`history`) and what Postgres holds.

It trusts neither side alone. The service's own instants count only within what the driver saw: a
message was received after it was first brought and before it was first acknowledged. How often a
session closed is what a trigger noted, not what its row says. All clocks are the host's, so every
comparison is exact to the microsecond; only the active count has a tolerance, since it is read
while it changes.

**Stored.** Every acknowledged message has one row, of its text, on its connection, in a session of
its customer. One that was refused or never answered has one or none. No row is nobody's.

**When a message counts**: at its arrival; if its body says that it was sent more than 60 s before
that, when it was sent (DESIGN, section 5). The first kind is *on time*, the second *late*. A
message that was brought again and again through an outage is on time until 60 s are over. Only a
customer's messages move the deadline, and the one that opens a session.

**A spool.** What was stored only after it was acknowledged waited in one; it counts at its receipt
all the same. Closers and other hosts learn of it within a second, later only while that host, Redis
or the way to either is broken; until then, and no longer, its session may be closed before it is
there, and what belongs together may part. While something waits, a session that falls due may stay
open, and be joined.

**Never early.** A session is not closed before the idle gap has passed since each of its customer's
messages that were on time and there by then: since they were received, and (which the service
cannot bend) since they were first brought.

**Never late to the wrong session.** Two on-time messages of a customer less than the gap apart are
in one session; in one session every message comes within the gap of the touch before it; no
on-time message joins a session after its close. A late one may: it belongs where its time lies.

**Closed once.** Every session began once and closed once, by silence; one that was closed when it
began holds late messages only. Of one customer on one connection no two are ever open together.

**Summarised once.** A closed session's summary read exactly its own messages, was written once (and
once more for each late message that joined), and a model's says nothing of others'. Only a session
in which no customer spoke may go without. Whatever was asked of the model named one session's
messages only.

**Told.** The receiver heard of every closed session, after its close; at least once is promised.

**Counted.** A reading between two instants lies between the number of sessions that were active
all the while (a touch makes one so once it is acknowledged), and of those that were at some time
(since a message was received, until the deadline). Judged unless a fault lasted or had just ended.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from benchmarks.soak.evidence import (
    Evidence,
    MessageRow,
    SessionRow,
    StateChange,
    SummaryRow,
)
from benchmarks.soak.fakes import numbers_in, text_of
from benchmarks.soak.history import Count, Sent, name_of
from benchmarks.soak.schedule import REDIS, WAYS, WEBS

LATE_AFTER_US = 60_000_000
COUNT_TOLERANCE_US = 250_000
HEALED_AFTER_US = 3_000_000
"""How long after a fault the count may still be wrong, or a host not heard of."""
KNOWN_WITHIN_US = 1_000_000
"""How long after its receipt not everybody need know of a message in a spool."""
HELD_BEFORE_US = 1_000_000
"""How much earlier than the oldest receipt in a spool a session may fall due and be held open."""
_KEEP_UNKNOWN = {*WEBS, *WAYS, REDIS}
"""What must be whole for a host to be heard of."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that may never be. ``kind`` is what the report counts by."""

    kind: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.kind}: {self.subject}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A stored message that was sent, and when it counts."""

    row: MessageRow
    sent: Sent
    counted_us: int

    @property
    def is_late(self) -> bool:
        """Whether it counts at its sending."""
        return self.counted_us != self.row.received_us

    @property
    def was_spooled(self) -> bool:
        """Whether it was acknowledged before it was stored."""
        acknowledged_us = self.sent.acknowledged_us
        return acknowledged_us is not None and self.row.stored_us > acknowledged_us


class Case:
    """The evidence, sorted by session."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.gap_us = evidence.gap_us

    @cached_property
    def sessions(self) -> Mapping[str, SessionRow]:
        """The sessions by id."""
        return {one.id: one for one in self.evidence.rows.sessions}

    @cached_property
    def placed(self) -> Mapping[str, Sequence[Placed]]:
        """Each session's messages that were sent by the driver, in the order they count."""
        by_session: dict[str, list[Placed]] = defaultdict(list)
        for row in self.evidence.rows.messages:
            sent = self.evidence.sent.get(name_of(row.connection_id, row.provider_message_id))
            if sent is not None:
                is_late = sent.sent_us < row.received_us - LATE_AFTER_US
                counted_us = sent.sent_us if is_late else row.received_us
                by_session[row.session_id].append(Placed(row, sent, counted_us))
        for theirs in by_session.values():
            theirs.sort(key=lambda one: (one.counted_us, one.row.received_us))
        return by_session

    @cached_property
    def changes(self) -> Mapping[str, Sequence[StateChange]]:
        """Each session's changes of state, in their order."""
        by_session: dict[str, list[StateChange]] = defaultdict(list)
        for one in self.evidence.rows.changes:
            by_session[one.session_id].append(one)
        return by_session

    @cached_property
    def closed_us(self) -> Mapping[str, int]:
        """When each session closed: as its row says or as was witnessed, whichever is earlier."""
        found: dict[str, int] = {}
        for one in self.evidence.rows.changes:
            if one.became == "closed":
                found.setdefault(one.session_id, one.at_us)
        for session in self.sessions.values():
            if session.closed_us is not None:
                found[session.id] = min(session.closed_us, found.get(session.id, session.closed_us))
        return found

    @cached_property
    def broken(self) -> Sequence[tuple[int, int, str]]:
        """From when until when what was broken: each fault, and a moment after it."""
        return [
            (one.began_us, (one.ended_us or 1 << 62) + HEALED_AFTER_US, one.target)
            for one in self.evidence.struck
        ]

    def is_disturbed(self, began_us: int, ended_us: int) -> bool:
        """Tell whether anything was broken between two instants, or shortly before."""
        return any(
            begin_us <= ended_us and began_us <= end_us for begin_us, end_us, _ in self.broken
        )

    @cached_property
    def spooled(self) -> Sequence[Placed]:
        """What waited in a spool."""
        return [one for theirs in self.placed.values() for one in theirs if one.was_spooled]

    def late_joins(self, session_id: str) -> int:
        """Return how many messages joined a session after its close."""
        closed_us = self.closed_us.get(session_id)
        if closed_us is None:
            return 0
        was_open = self.changes[session_id][0].became == "open"
        return sum(
            one.row.received_us > closed_us
            or (was_open and one.was_spooled and one.row.stored_us > closed_us)
            for one in self.placed.get(session_id, ())
        )

    def may_overtake(self, one: Placed, at_us: int) -> bool:
        """Tell whether what was done at an instant need not have known of a message."""
        if not one.was_spooled or one.row.stored_us <= at_us:
            return False
        received_us = one.row.received_us
        return at_us <= received_us + KNOWN_WITHIN_US or any(
            target in _KEEP_UNKNOWN and began_us <= at_us and received_us <= ended_us
            for began_us, ended_us, target in self.broken
        )

    def may_be_held(self, deadline_us: int, until_us: int) -> bool:
        """Tell whether a session may be open after its deadline, something waiting in a spool."""
        return any(
            one.row.received_us - HELD_BEFORE_US <= deadline_us
            and one.row.received_us <= until_us <= one.row.stored_us + HEALED_AFTER_US
            for one in self.spooled
        )


def check(evidence: Evidence) -> list[Violation]:
    """Return everything that is wrong."""
    case = Case(evidence)
    return [
        violation
        for judge in (
            check_answers, check_stored, check_instants, check_closed_once, check_early,
            check_together, check_apart, check_deadlines, check_one_open, check_summaries,
            check_model, check_told, check_counts,
        )
        for violation in judge(case)
    ]  # fmt: skip


def check_answers(case: Case) -> Iterator[Violation]:
    """No gateway was told not to come again."""
    for found in case.evidence.wrong:
        yield Violation("turned away", found.partition(":")[0], "200 or 503", found)


def check_stored(case: Case) -> Iterator[Violation]:
    """What was acknowledged is there once, as it was sent, where it belongs."""
    rows: dict[str, list[MessageRow]] = defaultdict(list)
    for row in case.evidence.rows.messages:
        rows[name_of(row.connection_id, row.provider_message_id)].append(row)
    for name, sent in case.evidence.sent.items():
        found = rows.pop(name, [])
        subject = f"message {sent.number}"
        if sent.acknowledged_us is None:
            yield Violation("never taken", subject, "acknowledged", f"{sent.calls} calls")
        elif not found:
            yield Violation("lost", subject, "one row", "none")
        if len(found) > 1:
            sessions = ", ".join(row.session_id for row in found)
            yield Violation("stored twice", subject, "one row", f"{len(found)} in {sessions}")
        for row in found:
            direction = "in" if sent.is_customers else "out"
            expected = (text_of(sent.number), sent.phone, direction)
            if (row.text, row.phone, row.direction) != expected:
                is_elsewhere = row.phone != sent.phone
                yield Violation(
                    "misplaced" if is_elsewhere else "altered", subject, "as it was sent",
                    f"row {row.id} in session {row.session_id}",
                )  # fmt: skip
            session = case.sessions[row.session_id]
            if session.connection_id != sent.connection_id:
                yield Violation("misplaced", subject, sent.connection_id, session.connection_id)
    for name, found in rows.items():
        yield Violation("invented", f"message {name}", "nobody sent it", f"row {found[0].id}")


def check_instants(case: Case) -> Iterator[Violation]:
    """Each message was received after it was first brought, and before it was acknowledged."""
    for theirs in case.placed.values():
        for one in theirs:
            first_us, last_us = one.sent.first_invoked_us, one.sent.acknowledged_us
            # While its first receipt waits in a spool, another may be stored.
            last_us = one.row.stored_us if one.sent.calls > 1 else last_us
            is_in_time = last_us is None or one.row.received_us <= last_us
            if one.row.received_us < first_us or not is_in_time:
                yield Violation(
                    "wrong instant", f"message {one.sent.number}", f"{first_us} to {last_us}",
                    f"received {one.row.received_us}",
                )  # fmt: skip


def check_closed_once(case: Case) -> Iterator[Violation]:
    """Every session began once and closed once, by silence."""
    for session in case.sessions.values():
        subject = f"session {session.id}"
        theirs = case.placed.get(session.id, ())
        path = [(one.was, one.became) for one in case.changes.get(session.id, ())]
        if session.state == "open":
            yield Violation("never closed", subject, "closed", f"open, {path}")
            continue
        if path == [(None, "closed")]:
            if not theirs or not all(one.is_late or one.was_spooled for one in theirs):
                yield Violation("closed at birth", subject, "late messages only", str(path))
        elif path != [(None, "open"), ("open", "closed")]:
            times = sum(became == "closed" for _, became in path)
            kind = "closed twice" if times > 1 else "wrong course"
            yield Violation(kind, subject, "opened and closed once", str(path))
        wanted = "recovered" if path[:1] == [(None, "closed")] else "idle"
        if session.close_reason != wanted:
            yield Violation("wrong reason", subject, wanted, str(session.close_reason))
        if not theirs or session.message_count != len(theirs):
            found = f"{session.message_count} counted, {len(theirs)} there"
            yield Violation("miscounted", subject, "its messages, one at least", found)
    for session_id, changes in case.changes.items():
        if session_id not in case.sessions:
            yield Violation("session gone", f"session {session_id}", "a row", str(changes[-1]))


def check_early(case: Case) -> Iterator[Violation]:
    """No session closed within the gap of a customer's message that was there by then."""
    for session_id, theirs in case.placed.items():
        closed_us = case.closed_us.get(session_id)
        for one in theirs:
            if closed_us is None or one.is_late or not one.sent.is_customers:
                continue
            there_us = max(one.row.received_us, one.sent.first_invoked_us)
            is_early = there_us <= closed_us < there_us + case.gap_us
            if is_early and not case.may_overtake(one, closed_us):
                yield Violation(
                    "closed early", f"session {session_id}",
                    f"open until {there_us + case.gap_us} for message {one.sent.number}",
                    f"closed {(there_us + case.gap_us - closed_us) / 1000:.3f} ms before",
                )  # fmt: skip


def check_together(case: Case) -> Iterator[Violation]:
    """What a customer wrote within the gap is in one session."""
    chats: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for session_id, theirs in case.placed.items():
        session = case.sessions[session_id]
        chats[session.connection_id, session.contact_id] += [
            one for one in theirs if one.sent.is_customers and not one.is_late
        ]
    for theirs in chats.values():
        theirs.sort(key=lambda one: one.row.received_us)
        for one, following in pairwise(theirs):
            apart_us = following.row.received_us - one.row.received_us
            if (
                apart_us < case.gap_us
                and one.row.session_id != following.row.session_id
                and not case.may_overtake(one, following.row.received_us)
                and not _was_closed_too_soon(case, one, following)
            ):
                yield Violation(
                    "split", f"messages {one.sent.number} and {following.sent.number}",
                    f"one session, being {apart_us} µs apart",
                    f"sessions {one.row.session_id} and {following.row.session_id}",
                )  # fmt: skip


def _was_closed_too_soon(case: Case, one: Placed, following: Placed) -> bool:
    """Tell whether a close parted them that came, as it may, before one of them was there."""
    return any(
        closed_us is not None and case.may_overtake(waiting, closed_us)
        for waiting in (one, following)
        for closed_us in (case.closed_us.get(each.row.session_id) for each in (one, following))
    )


def check_apart(case: Case) -> Iterator[Violation]:
    """In a session every message comes within the gap of a touch, and before the close."""
    for session_id, theirs in case.placed.items():
        opening = _opening(theirs)
        touched_us = theirs[0].counted_us
        for one in theirs:
            silence_us = one.counted_us - touched_us
            has_ended = silence_us > case.gap_us or (silence_us == case.gap_us and not one.is_late)
            if has_ended and not case.may_be_held(touched_us + case.gap_us, one.counted_us):
                yield Violation(
                    "overstayed", f"message {one.sent.number}", "a session of its own",
                    f"session {session_id}, {silence_us} µs after its last touch",
                )  # fmt: skip
            if one.sent.is_customers or one is opening:
                touched_us = max(touched_us, one.counted_us)
            closed_us = case.closed_us.get(session_id)
            if closed_us is not None and not one.is_late and one.row.received_us > closed_us:
                yield Violation(
                    "joined a closed session", f"message {one.sent.number}", "another session",
                    f"session {session_id}, closed {one.row.received_us - closed_us} µs before",
                )  # fmt: skip


def check_deadlines(case: Case) -> Iterator[Violation]:
    """A session that silence closed fell due the gap after its last touch."""
    for session_id, theirs in case.placed.items():
        session = case.sessions[session_id]
        closed_us = case.closed_us.get(session_id)
        if session.close_reason != "idle" or closed_us is None:
            continue
        there = [
            one
            for one in theirs
            if (one.row.stored_us if one.was_spooled else one.row.received_us) <= closed_us
        ]
        opening = _opening(theirs)
        touches = [one.counted_us for one in there if one.sent.is_customers or one is opening]
        expected_us = max(touches, default=0) + case.gap_us
        if session.deadline_us != expected_us:
            yield Violation(
                "wrong deadline", f"session {session_id}", str(expected_us),
                str(session.deadline_us),
            )  # fmt: skip


def _opening(theirs: Sequence[Placed]) -> Placed:
    """Return the message that a session began with: the first of it that was there."""
    return min(theirs, key=lambda one: (one.row.stored_us, one.counted_us, one.row.received_us))


def check_one_open(case: Case) -> Iterator[Violation]:
    """No two sessions of one customer on one connection were ever open together."""
    chats: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for session_id, changes in case.changes.items():
        session = case.sessions.get(session_id)
        if session is None or changes[0].became != "open":
            continue
        end_us = next((one.at_us for one in changes[1:] if one.became != "open"), 1 << 62)
        chats[session.connection_id, session.contact_id].append(
            (changes[0].at_us, end_us, session_id)
        )
    for spans in chats.values():
        spans.sort()
        for (_, ended_us, one), (began_us, _, following) in pairwise(spans):
            if began_us < ended_us:
                yield Violation(
                    "two open", f"sessions {one} and {following}", "one after the other",
                    f"together for {ended_us - began_us} µs",
                )  # fmt: skip


def check_summaries(case: Case) -> Iterator[Violation]:
    """Every closed session's summary is of its own messages, all of them, written once."""
    summaries = {one.session_id: one for one in case.evidence.rows.summaries}
    for session in case.sessions.values():
        if session.state == "open":
            continue
        subject = f"session {session.id}"
        theirs = case.placed.get(session.id, ())
        summary = summaries.pop(session.id, None)
        stored = case.evidence.rows.stored[session.id]
        if summary is None:
            is_silent = not any(one.sent.is_customers for one in theirs)
            if not (session.summary_status == "skipped" and is_silent):
                status = f"{session.summary_status} ({session.summary_reason})"
                yield Violation("not summarised", subject, "a summary", status)
            continue
        if stored > 1 + case.late_joins(session.id):
            yield Violation("summarised twice", subject, "one storing", f"{stored}")
        if session.summary_status != "done":
            yield Violation("summary unsettled", subject, "done", str(session.summary_status))
        yield from _check_reading(subject, summary, theirs)
    for session_id in summaries:
        yield Violation("summary of none", f"session {session_id}", "a closed session", "none")


def _check_reading(
    subject: str, summary: SummaryRow, theirs: Sequence[Placed]
) -> Iterator[Violation]:
    own = {one.row.id for one in theirs}
    read = set(summary.message_ids)
    if read - own or len(read) != len(summary.message_ids):
        yield Violation("foreign in a summary", subject, f"of {sorted(own)}", f"{sorted(read)}")
    elif own - read:
        yield Violation("missing in a summary", subject, f"{sorted(own)}", f"{sorted(read)}")
    numbers = {one.sent.number for one in theirs}
    told = set(numbers_in(summary.text))
    if told - numbers or (summary.summarizer == "openai" and not told):
        yield Violation(
            "foreign in a summary", subject, f"words of {sorted(numbers)}", f"{sorted(told)}"
        )


def check_model(case: Case) -> Iterator[Violation]:
    """Whatever the model was asked named the messages of one session."""
    session_of = {
        one.sent.number: session_id for session_id, theirs in case.placed.items() for one in theirs
    }
    for call in case.evidence.model_calls:
        sessions = {session_of.get(number, "none") for number in call.numbers}
        if len(sessions) != 1 or "none" in sessions:
            yield Violation(
                "mixed prompt", f"messages {list(call.numbers)}", "one session's",
                f"of {sorted(sessions)}",
            )  # fmt: skip


def check_told(case: Case) -> Iterator[Violation]:
    """The receiver heard of every close, and of nothing else."""
    heard = Counter(one.session_id for one in case.evidence.told)
    for one in case.evidence.told:
        closed_us = case.closed_us.get(one.session_id)
        if closed_us is None or one.at_us < closed_us:
            yield Violation("told too soon", f"session {one.session_id}", "closed", str(closed_us))
    for session_id in case.closed_us:
        if not heard[session_id]:
            yield Violation("never told", f"session {session_id}", "a callback", "none")


def check_counts(case: Case) -> Iterator[Violation]:
    """Every reading of the active count that no fault disturbed is right."""
    sure: dict[str, _Spans] = defaultdict(_Spans)
    possible: dict[str, _Spans] = defaultdict(_Spans)
    for session_id, changes in case.changes.items():
        session = case.sessions.get(session_id)
        theirs = [one for one in case.placed.get(session_id, ()) if not one.is_late]
        if session is None or not theirs or changes[0].became != "open":
            continue
        possible[session.business_id].add(theirs[0].row.received_us, session.deadline_us)
        for began_us, ended_us in _sure_spans(case, theirs):
            sure[session.business_id].add(began_us, ended_us)
    for spans in (*sure.values(), *possible.values()):
        spans.sort()
    for reading in undisturbed(case):
        before_us = reading.before_us - COUNT_TOLERANCE_US
        after_us = reading.after_us + COUNT_TOLERANCE_US
        fewest = sure[reading.business_id].count(before_us, after_us)
        most = possible[reading.business_id].count(after_us, before_us)
        if not fewest <= reading.count <= most:
            yield Violation(
                "wrong count", f"business {reading.business_id} at {reading.before_us}",
                f"{fewest} to {most}", str(reading.count),
            )  # fmt: skip


class _Spans:
    """Stretches of time, to be counted."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def add(self, began_us: int, ended_us: int) -> None:
        self._begins.append(began_us)
        self._ends.append(ended_us)

    def sort(self) -> None:
        self._begins.sort()
        self._ends.sort()

    def count(self, began_by_us: int, not_ended_by_us: int) -> int:
        """Count those that began by an instant and had not ended by another.

        Where one lies between the two, the answer is too low: right for "at least".
        """
        ended = bisect_right(self._ends, not_ended_by_us)
        return max(0, bisect_right(self._begins, began_by_us) - ended)


def _sure_spans(case: Case, theirs: Sequence[Placed]) -> list[tuple[int, int]]:
    """Return when a session was active beyond doubt.

    Each touch makes it so from its acknowledgement on, or from its storing where it waited in a
    spool, if whoever took it was also the one who answered: Redis knows by then. (The answer to a
    repeated call may overtake the first.) One during a fault is acknowledged though Redis was not
    told: at the end of the touch before it, up to a gap later, the session is not counted until
    that event is looked into, so such a touch makes nothing sure.
    """
    spans: list[tuple[int, int]] = []
    for nth, one in enumerate(theirs):
        touches = one.sent.is_customers or nth == 0
        if not touches or one.sent.acknowledged_us is None or not one.sent.was_taken_at_once:
            continue
        began_us = max(one.sent.acknowledged_us, one.row.stored_us)
        ended_us = one.row.received_us + case.gap_us
        if case.is_disturbed(one.row.received_us, began_us):
            continue
        if spans and began_us <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(ended_us, spans[-1][1]))
        elif began_us < ended_us:
            spans.append((began_us, ended_us))
    return spans


def undisturbed(case: Case) -> Iterator[Count]:
    """Yield the readings during which, and shortly before which, nothing was broken."""
    for reading in case.evidence.counts:
        if not case.is_disturbed(reading.before_us, reading.after_us):
            yield reading
