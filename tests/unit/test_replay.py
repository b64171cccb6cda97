from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from timer_service.messages import ContactIds, InboundMessage, OwnMessage, TouchOn
from timer_service.placement import Draft, Rules, place
from timer_service.replay import format_gap, opens_session, show_replay, split_into_sessions
from timer_service.whatsapp_export import ExportedMessage

MINUTE = 60


def message(minutes: float, author: str = "Dana") -> ExportedMessage:
    sent_at = datetime(2026, 3, 9, 9, 0, tzinfo=UTC) + timedelta(minutes=minutes)
    return ExportedMessage(1, sent_at, author, "text", "hi")


def sizes(*messages: ExportedMessage, gap_min: float = 15) -> list[int]:
    sessions = split_into_sessions(messages, gap_min * MINUTE)
    return [len(session.messages) for session in sessions]


def test_a_silence_of_the_gap_splits_and_a_shorter_one_does_not() -> None:
    assert sizes(message(0), message(14.99), message(29)) == [3]
    assert sizes(message(0), message(15)) == [1, 1]


def test_only_the_customer_keeps_a_session_alive() -> None:
    assert sizes(message(0), message(10, "Shop"), message(20)) == [2, 1]
    assert sizes(message(0), message(10), message(20)) == [3]


def test_an_answer_after_the_end_opens_a_session_that_ends_by_itself() -> None:
    assert sizes(message(0), message(20, "Shop"), message(34), message(50, "Shop")) == [1, 2, 1]


def test_whoever_is_not_the_first_author_is_the_business() -> None:
    assert sizes(message(0), message(10, "Shop"), message(12, "Owner"), message(16, "Owner")) == [
        3,
        1,
    ]


def test_time_that_runs_backwards_counts_as_none() -> None:
    assert opens_session([(100.0, True), (50.0, True), (159.9, True)], 60) == [True, False, False]


def test_silence_is_measured_from_the_last_word_of_anybody() -> None:
    first, second = split_into_sessions([message(0), message(10, "Shop"), message(40)], 900)
    assert first.silence_before is None
    assert second.silence_before == timedelta(minutes=30)
    assert (first.number, second.number) == (1, 2)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (40, "40s"), (900, "15m"), (7500, "2h 5m"), (90061, "1d 1h"), (86400, "1d")],
)
def test_a_gap_is_written_with_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_gap(seconds) == text


@given(
    gap_min=st.integers(1, 30),
    entries=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=30),
)
def test_a_replay_splits_as_the_service_does(gap_min: int, entries: list[tuple[int, bool]]) -> None:
    """Every message is handed to the service's own rule on its arrival, overdue sessions first."""
    now = datetime(2026, 3, 9, tzinfo=UTC)
    gap = timedelta(minutes=gap_min)
    open_session: Draft | None = None
    moments, opened = [], []
    for minutes, is_customers in entries:
        now += timedelta(minutes=minutes)
        moments.append((now.timestamp(), is_customers))
        if open_session is not None and open_session.deadline_at <= now:
            open_session = None
        make = InboundMessage if is_customers else OwnMessage
        one = make(provider_message_id="m", contact=ContactIds(phone="972500001001"))
        rules = Rules(now=now, idle_gap=gap, touch_on=TouchOn.CUSTOMER)
        ((_, draft),) = place([one], open_session=open_session, closed_sessions=[], rules=rules)
        opened.append(draft is not open_session)
        open_session = draft
    assert opens_session(moments, gap.total_seconds()) == opened


CHAT = """\
09/03/2026, 09:00 - Messages and calls are end-to-end encrypted.
09/03/2026, 09:00 - דנה: שלום
09/03/2026, 09:05 - Shop: hi
09/03/2026, 09:10 - דנה: תודה
13/03/2026, 18:00 - דנה: עוד שאלה
13/03/2026, 18:20 - Shop: yes?
"""


def replay(text: str, tmp_path: Path, gap_s: int = 900, *, plot: bool = False) -> tuple[int, str]:
    path = tmp_path / "chat.txt"
    path.write_text(text, encoding="utf-8")
    out = io.StringIO()
    console = Console(file=out, width=100)
    code = show_replay(path, gap_s, tmp_path / "plot.svg" if plot else None, console)
    return code, out.getvalue()


def test_the_table_shows_every_session(tmp_path: Path) -> None:
    code, out = replay(CHAT, tmp_path)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["1", "2026-03-09", "09:00", "09:10", "3"] in rows
    assert ["2", "2026-03-13", "18:00", "18:00", "1", "4d", "8h"] in rows
    assert ["3", "2026-03-13", "18:20", "18:20", "1", "20m"] in rows
    assert "5 messages make 3 sessions with an idle gap of 15m" in " ".join(out.split())


def test_the_bars_count_the_sessions_of_each_gap(tmp_path: Path) -> None:
    _, out = replay(CHAT, tmp_path)
    bars = {line.split()[0]: line.split()[2:] for line in out.splitlines() if "█ " in line}
    assert bars["5m"] == ["5"]  # a silence of the gap ends it: each message stands alone
    assert bars["15m"] == ["3", "←", "this", "one"]
    assert bars["30m"] == ["2"]
    assert bars["1d"] == ["2"]


def test_a_gap_of_ones_own_joins_the_comparison(tmp_path: Path) -> None:
    _, out = replay(CHAT, tmp_path, gap_s=40)
    (own,) = [line for line in out.splitlines() if "this one" in line]
    assert own.split()[0] == "40s"


def test_the_strip_shows_when_people_wrote(tmp_path: Path) -> None:
    _, out = replay(CHAT, tmp_path)
    (strip,) = [line for line in out.splitlines() if line.startswith("█") and line.endswith("▆")]
    assert len(strip) == 100
    assert set(strip[1:-1]) == {" "}


def test_many_sessions_are_cut_in_the_middle(tmp_path: Path) -> None:
    lines = [f"{1 + day % 28:02}/{1 + day // 28:02}/2026, 09:00 - Dana: hi" for day in range(84)]
    _, out = replay("\n".join(lines), tmp_path)
    assert "44 more" in out
    rows = [line.split() for line in out.splitlines()]
    numbers = [int(row[0]) for row in rows if row[1:2] and row[1].startswith("20")]
    assert numbers == [*range(1, 21), *range(65, 85)]
    assert "84 sessions" in out


def test_the_plot_is_an_svg_with_a_mark_for_each_session(tmp_path: Path) -> None:
    code, _ = replay(CHAT, tmp_path, plot=True)
    root = ET.parse(tmp_path / "plot.svg").getroot()
    assert code == 0
    texts = ["".join(one.itertext()) for one in root]
    assert "3 sessions with an idle gap of 15m" in texts
    marks = [one for one in texts if one.endswith("messages")]
    assert len(marks) == 3
    assert "3 (this one)" in texts


def test_one_message_is_enough_for_everything(tmp_path: Path) -> None:
    code, out = replay("09/03/2026, 09:00 - Dana: hi", tmp_path, plot=True)
    assert code == 0
    assert "1 messages make 1 sessions" not in out
    assert "1 message makes 1 session" in out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("dear diary", "line 1: expected"),
        ("09/03/2026, 09:00 - Messages and calls are end-to-end encrypted.", "no messages"),
    ],
)
def test_what_is_no_chat_gives_a_reason_and_one(tmp_path: Path, text: str, reason: str) -> None:
    code, out = replay(text, tmp_path)
    assert code == 1
    assert reason in " ".join(out.split())


def test_a_gap_out_of_range_is_refused(tmp_path: Path) -> None:
    code, out = replay(CHAT, tmp_path, gap_s=0)
    assert code == 1
    assert "idle gap" in out


def test_a_plot_that_cannot_be_written_gives_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text(CHAT, encoding="utf-8")
    out = io.StringIO()
    code = show_replay(path, 900, tmp_path / "no" / "plot.svg", Console(file=out, width=300))
    assert code == 1
    assert "No such file" in out.getvalue()
