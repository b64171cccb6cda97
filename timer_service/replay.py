"""`timer-service replay`: how an exported chat splits into sessions. No server, no clock.

The command calls ``show_replay``; the demo asks ``opens_session`` where its conversations will
split. The rule is the service's own: a customer's message and the message that opens a session move
the deadline, others do not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from timer_service.errors import InvalidInput
from timer_service.replay_plot import draw_svg
from timer_service.settings import IDLE_GAP_MAX_S, IDLE_GAP_MIN_S
from timer_service.whatsapp_export import ExportedMessage, read_export

COMPARED_GAPS_S = (300, 600, 900, 1800, 3600, 7200, 21600, 86400)
_LONGEST_TABLE = 40
_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 40
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


@dataclass(frozen=True, slots=True)
class ReplayedSession:
    """One session of an export; ``silence_before`` is None for the first."""

    number: int
    messages: tuple[ExportedMessage, ...]
    silence_before: timedelta | None

    @property
    def started_at(self) -> datetime:
        """The time of the first message."""
        return self.messages[0].sent_at

    @property
    def ended_at(self) -> datetime:
        """The latest time of a message."""
        return max(message.sent_at for message in self.messages)


def opens_session(moments: Sequence[tuple[float, bool]], idle_gap_s: float) -> list[bool]:
    """Tell for each message, as ``(seconds, is the customer's)`` in order, whether it opens one.

    Times that go backwards count as no time passing: the service sees arrivals.
    """
    opens: list[bool] = []
    now_s = deadline_s = float("-inf")
    for at_s, is_customers in moments:
        now_s = max(now_s, at_s)
        opens.append(now_s >= deadline_s)
        if opens[-1] or is_customers:
            deadline_s = now_s + idle_gap_s
    return opens


def split_into_sessions(
    messages: Sequence[ExportedMessage], idle_gap_s: float
) -> list[ReplayedSession]:
    """Split what people said; the first to write is the customer, everybody else the business."""
    if not messages:
        return []
    customer = messages[0].author
    moments = [(one.sent_at.timestamp(), one.author == customer) for one in messages]
    opens = opens_session(moments, idle_gap_s)
    starts = [index for index, is_first in enumerate(opens) if is_first]
    sessions: list[ReplayedSession] = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True), start=1):
        part = tuple(messages[start:end])
        silence = part[0].sent_at - sessions[-1].ended_at if sessions else None
        sessions.append(ReplayedSession(number, part, silence))
    return sessions


def show_replay(path: Path, idle_gap_s: int, plot: Path | None, console: Console) -> int:
    """Print how an export splits, and write an SVG to ``plot`` where it is given.

    Returns the exit code: 0, or 1 with the reason printed.
    """
    try:
        _show(path, idle_gap_s, plot, console)
    except (InvalidInput, OSError) as error:
        console.print(Text(str(error), style="red"))
        return 1
    return 0


def format_gap(seconds: float) -> str:
    """Write a duration with its two largest units: ``15m``, ``2h 5m``, ``3d``, ``40s``."""
    left = round(seconds)
    parts = []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    if left and not parts:
        parts.append(f"{left}s")
    return " ".join(parts[:2]) or "0s"


def _show(path: Path, idle_gap_s: int, plot: Path | None, console: Console) -> None:
    if not IDLE_GAP_MIN_S <= idle_gap_s <= IDLE_GAP_MAX_S:
        raise InvalidInput(f"the idle gap is {IDLE_GAP_MIN_S} to {IDLE_GAP_MAX_S} seconds")
    messages = read_export(path).said
    if not messages:
        raise InvalidInput(f"{path} holds no messages of people, only WhatsApp's own notices")
    sessions = split_into_sessions(messages, idle_gap_s)
    gaps_s = sorted({*COMPARED_GAPS_S, idle_gap_s})
    counts = [(gap_s, len(split_into_sessions(messages, gap_s))) for gap_s in gaps_s]
    console.print(_table(sessions))
    console.print(Text(_headline(messages, sessions, idle_gap_s)))
    console.print()
    for line in _strip(sessions, console.width):
        console.print(line, soft_wrap=True)
    console.print()
    console.print(Text("Sessions under other idle gaps"), style="bold")
    for bar in _bars(counts, idle_gap_s):
        console.print(bar, soft_wrap=True)
    if plot is not None:
        spans = [(one.started_at, one.ended_at, len(one.messages)) for one in sessions]
        labels = [(format_gap(gap_s), count, gap_s == idle_gap_s) for gap_s, count in counts]
        plot.write_text(draw_svg(spans, labels, format_gap(idle_gap_s)), encoding="utf-8")
        console.print(Text(f"The plot is in {plot}"), soft_wrap=True)


def _headline(
    messages: Sequence[ExportedMessage], sessions: Sequence[ReplayedSession], idle_gap_s: int
) -> str:
    others = {message.author for message in messages} - {messages[0].author}
    verb = "makes" if len(messages) == 1 else "make"
    return (
        f"{_count(len(messages), 'message')} {verb} {_count(len(sessions), 'session')} with an "
        f"idle gap of {format_gap(idle_gap_s)}. The customer is who wrote first "
        f"({messages[0].author}); the business is everybody else ({len(others)})."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _table(sessions: Sequence[ReplayedSession]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("session", justify="right")
    table.add_column("start")
    table.add_column("end")
    table.add_column("messages", justify="right")
    table.add_column("silence before", justify="right")
    half = _LONGEST_TABLE // 2
    is_cut = len(sessions) > _LONGEST_TABLE
    for session in sessions[:half] if is_cut else sessions:
        table.add_row(*_cells(session))
    if is_cut:
        table.add_row("…", f"{len(sessions) - 2 * half} more", "…", "…", "…")
        for session in sessions[-half:]:
            table.add_row(*_cells(session))
    return table


def _cells(session: ReplayedSession) -> tuple[str, ...]:
    silence = session.silence_before
    is_same_day = session.started_at.date() == session.ended_at.date()
    return (
        str(session.number),
        f"{session.started_at:%Y-%m-%d %H:%M}",
        f"{session.ended_at:%H:%M}" if is_same_day else f"{session.ended_at:%Y-%m-%d %H:%M}",
        str(len(session.messages)),
        "" if silence is None else format_gap(max(0.0, silence.total_seconds())),
    )


def _strip(sessions: Sequence[ReplayedSession], width: int) -> Iterator[Text]:
    """Draw time from left to right: the higher a block, the more messages; colours alternate."""
    starts = [session.started_at for session in sessions]
    first, last = starts[0], max(session.ended_at for session in sessions)
    columns = max(10, min(width, 100))
    per_column = (last - first) / columns or timedelta(seconds=1)
    counts = [0] * columns
    for session in sessions:
        for message in session.messages:
            counts[max(0, min(columns - 1, (message.sent_at - first) // per_column))] += 1
    most = max(counts)
    strip = Text()
    for column, count in enumerate(counts):
        number = bisect_right(starts, first + per_column * (column + 1))
        block = _BLOCKS[(count * len(_BLOCKS) - 1) // most] if count else " "
        strip.append(block, style="cyan" if number % 2 else "magenta")
    yield strip
    left, right = f"{first:%Y-%m-%d %H:%M}", f"{last:%Y-%m-%d %H:%M}"
    yield Text(left + right.rjust(max(columns - len(left), len(right) + 1)), style="dim")


def _bars(counts: Sequence[tuple[int, int]], idle_gap_s: int) -> Iterator[Text]:
    most = max(count for _, count in counts)
    for gap_s, count in counts:
        is_chosen = gap_s == idle_gap_s
        bar = "█" * max(1, round(count / most * _BAR_WIDTH))
        line = Text(f"{format_gap(gap_s):>8}  {bar} {count}", style="bold" if is_chosen else "")
        line.append("  ← this one" if is_chosen else "")
        yield line
