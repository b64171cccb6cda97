"""Prints what happens while the demo runs, one line per event, from any thread.

`story` calls it. Lines carry seconds since the start, so they read the same in a terminal, a pipe
and a log. A Latin word stands between a name and a text: in a terminal that knows Hebrew, two
right-to-left pieces side by side would trade places.
"""

from __future__ import annotations

import threading

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from timer_service import clock
from timer_service.demo.api import SessionSeen
from timer_service.demo.conversations import Person, Turn
from timer_service.messages import ProviderName
from timer_service.replay import format_gap

_NAME_CELLS = 16
_KIND_CELLS = 10


class Timeline:
    """A running account of the demo."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._started_s = clock.monotonic_s()

    def say(self, words: str) -> None:
        """Print a remark without a time."""
        with self._lock:
            self._console.print(Text(words, style="dim"), soft_wrap=True)

    def message(self, provider: ProviderName, person: Person, turn: Turn) -> None:
        """A message was delivered to the service and acknowledged."""
        label = turn.text.replace("\n", " ")
        if turn.type != "text":
            label = f"[{turn.type}] {label}".rstrip()
        role = "customer" if turn.is_customers else "agent"
        self._line(provider, person.name, role, label, "" if turn.is_customers else "cyan")

    def redelivered(self, provider: ProviderName, person: Person) -> None:
        """The same webhook was delivered once more."""
        self._line(provider, person.name, "webhook", "the same one again: nothing changes", "dim")

    def goes_quiet(
        self, provider: ProviderName, person: Person, life_s: float, here_s: float
    ) -> None:
        """A silence begins that will end the session, shortened from what it was in life."""
        words = f"goes quiet for {format_gap(life_s)}, here {here_s:.1f} s"
        self._line(provider, person.name, "silence", words, "dim")

    def opened(self, session: SessionSeen) -> None:
        """A session opened."""
        self._session(session, "opened", f"session {session.number}", "green")

    def closed(self, session: SessionSeen) -> None:
        """A session closed."""
        lateness = session.close_lateness_ms
        words = f"session {session.number}, {session.close_reason}"
        if lateness is not None:
            words += f", {lateness} ms after its deadline"
        self._session(session, "closed", words, "bold green")

    def summarised(self, session: SessionSeen) -> None:
        """A summary arrived, or there was nothing to summarise."""
        summary = session.summary
        if summary is not None:
            title = summary.title or f"{summary.status}: {summary.reason}"
            self._session(session, "summary", title, "magenta")

    def active(self, count: int) -> None:
        """The number of active chats changed."""
        words = Text(f"{self._now()}  active chats: {count}", style="bold")
        with self._lock:
            self._console.print(words, soft_wrap=True)

    def _session(self, session: SessionSeen, kind: str, words: str, style: str) -> None:
        name = session.customer_name or ""
        self._line(session.provider, name, kind, words, style)

    def _line(self, provider: ProviderName, name: str, kind: str, words: str, style: str) -> None:
        line = Text(f"{self._now()}  ")
        line.append(pad(name, _NAME_CELLS), style="bold")
        line.append(f"  {provider.value:<7}  ", style="dim")
        line.append(f"{kind:<{_KIND_CELLS}}", style=style)
        line.append(words, style=style)
        with self._lock:
            self._console.print(line, soft_wrap=True)

    def _now(self) -> str:
        return f"{clock.monotonic_s() - self._started_s:7.2f} s"


def pad(words: str, cells: int) -> str:
    """Fill up to so many terminal cells, which are not characters."""
    return words + " " * max(0, cells - cell_len(words))
