"""What the demo proves, and how it says so: the checks, the table, the lateness, the summaries.

`story` calls this at the end. Pure, but for printing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from timer_service.demo.api import SessionSeen
from timer_service.messages import CloseReason, ProviderName, SummaryStatus

_SETTLED = frozenset({SummaryStatus.DONE.value, SummaryStatus.SKIPPED.value})
_FIELDS = (
    ("Asked for", "asked_for"),
    ("Provided", "provided"),
    ("Next steps", "next_steps"),
    ("Follow up", "follow_up"),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """One conversation as it was played: how many messages each of its sessions must hold."""

    provider: ProviderName
    phone: str
    message_counts: tuple[int, ...]


def is_settled(session: SessionSeen) -> bool:
    """Whether nothing more will happen to a session: closed, and its summary made or not needed."""
    return (
        not session.is_open and session.summary is not None and session.summary.status in _SETTLED
    )


def is_early(session: SessionSeen, idle_gap_s: int) -> bool:
    """Whether it was closed before its customer had been silent for the idle gap."""
    if session.closed_at is None:
        return False
    due_at = session.deadline_at
    if session.last_customer_message_at is not None:
        due_at = max(due_at, session.last_customer_message_at + timedelta(seconds=idle_gap_s))
    return session.closed_at < due_at


def find_problems(
    sessions: Sequence[SessionSeen],
    expected: Sequence[Expected],
    active_count: int,
    idle_gap_s: int,
) -> list[str]:
    """Return what is not as it must be; nothing if all is well. Ids only."""
    problems = []
    for number, one in enumerate(expected, start=1):
        mine = [session for session in sessions if session.customer_wa_id == one.phone]
        found = tuple(
            session.message_count for session in sorted(mine, key=lambda session: session.number)
        )
        if found != one.message_counts:
            problems.append(
                f"conversation {number} ({one.provider.value}): expected sessions of "
                f"{_counts(one.message_counts)} messages, found {_counts(found)}"
            )
    for session in sessions:
        if session.is_open:
            problems.append(f"session {session.id} is still open")
        elif session.close_reason != CloseReason.IDLE.value:
            problems.append(f"session {session.id} was closed as {session.close_reason}, not idle")
        elif is_early(session, idle_gap_s):
            problems.append(f"session {session.id} was closed before its deadline")
        elif not is_settled(session):
            status = session.summary.status if session.summary else "missing"
            reason = f" ({session.summary.reason})" if session.summary else ""
            problems.append(f"the summary of session {session.id} is {status}{reason}")
    if active_count:
        problems.append(f"expected 0 active chats at the end, found {active_count}")
    return problems


def print_report(sessions: Sequence[SessionSeen], idle_gap_s: int, console: Console) -> None:
    """Print the table, the lateness line and the summaries, in the order sessions closed."""
    closed = sorted(
        (session for session in sessions if session.closed_at is not None),
        key=lambda session: session.closed_at or session.deadline_at,
    )
    console.print()
    console.print(_table(closed))
    console.print()
    console.print(Text(lateness_line(closed, idle_gap_s), style="bold"), soft_wrap=True)
    for session in closed:
        _print_summary(session, console)
    console.print()


def lateness_line(closed: Sequence[SessionSeen], idle_gap_s: int) -> str:
    """Return ``close lateness p50 3 p99 9 max 9 ms, early 0``."""
    late = sorted(one.close_lateness_ms for one in closed if one.close_lateness_ms is not None)
    early = sum(is_early(session, idle_gap_s) for session in closed)
    if not late:
        return f"close lateness: nothing closed by silence, early {early}"
    p50, p99 = (late[math.ceil(share * len(late)) - 1] for share in (0.5, 0.99))
    return f"close lateness p50 {p50} p99 {p99} max {late[-1]} ms, early {early}"


def _counts(counts: Sequence[int]) -> str:
    return " + ".join(map(str, counts)) or "none"


def _table(closed: Sequence[SessionSeen]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("customer", "provider"):
        table.add_column(name)
    table.add_column("session", justify="right")
    table.add_column("messages", justify="right")
    table.add_column("closed by")
    table.add_column("lateness", justify="right")
    for session in closed:
        lateness = session.close_lateness_ms
        table.add_row(
            Text(session.customer_name or "—"),
            session.provider.value,
            str(session.number),
            str(session.message_count),
            session.close_reason or "—",
            "—" if lateness is None else f"{lateness} ms",
        )
    return table


def _print_summary(session: SessionSeen, console: Console) -> None:
    summary = session.summary
    if summary is None:
        return
    console.print()
    heading = Text(summary.title or "Nothing to summarise", style="bold")
    heading.append(f"  {session.provider.value}", style="dim")
    if session.customer_name:
        heading.append(f"  {session.customer_name}", style="dim")
    console.print(heading, soft_wrap=True)
    if summary.text is None:
        console.print(Padding(Text(f"{summary.status}: {summary.reason}"), (0, 0, 0, 2)))
        return
    console.print(Padding(Text(summary.text), (0, 0, 0, 2)))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for label, name in _FIELDS:
        value = getattr(summary, name)
        if value:
            grid.add_row(label, Text(value))
    console.print(Padding(grid, (0, 0, 0, 2)))
