"""What everybody outside the service saw, noted as it happened: one line each, by the host's clock.

The driver, the faults, the counts and the fakes write it; the checker reads it. Nothing in it comes
from the service but its answers. Instants are whole microseconds since the epoch, as Postgres
keeps them, so that comparing with rows is exact.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from timer_service.clock import epoch_s


class Answer(StrEnum):
    """What a caller knows of a call that is over."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """Told to come again, or no connection: it should not be stored, but may be."""
    UNKNOWN = "unknown"
    """No answer: it may be stored or not."""
    WRONG = "wrong"
    """Neither taken nor told to come again, though the message is right."""


@dataclass(slots=True)
class Sent:
    """A message as its gateway brought it.

    ``sent_us`` is the time the body says it was sent at.
    """

    number: int
    message_id: str
    connection_id: str
    phone: str
    is_customers: bool
    sent_us: int
    first_invoked_us: int = 0
    acknowledged_us: int | None = None
    last_invoked_us: int = 0
    calls: int = 0
    was_taken_at_once: bool = False
    """The first call was the first to be acknowledged: whoever took it also answered."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A question to the model: which messages it named, and whether the answer was a summary."""

    at_us: int
    numbers: tuple[int, ...]
    outcome: str
    was_good: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A callback that was told of a close."""

    at_us: int
    session_id: str


@dataclass(frozen=True, slots=True)
class Count:
    """One reading of a business's active count, between two instants."""

    before_us: int
    after_us: int
    business_id: str
    count: int


@dataclass(slots=True)
class Struck:
    """A fault as it was done; ``ended_us`` is None while it lasts."""

    kind: str
    target: str
    began_us: int
    ended_us: int | None = None
    failure: str | None = None


def now_us() -> int:
    """Return the present instant."""
    return int(epoch_s() * 1_000_000)


@dataclass
class History:
    """Everything seen, in memory for the checker and in a file for people."""

    path: Path
    sent: dict[str, Sent] = field(default_factory=dict)
    """By connection and message id, as `name_of` writes it."""
    model_calls: list[ModelCall] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers: dict[Answer, int] = field(default_factory=dict)
    took_us: list[int] = field(default_factory=list)
    """How long each acknowledged call took."""
    deaths: list[str] = field(default_factory=list)
    """Processes that ended though no fault ended them."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._file = self.path.open("w")

    def note(self, what: str, **facts: Any) -> None:
        """Write one line."""
        line = json.dumps({"at_us": now_us(), "what": what, **facts})
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")

    def invoked(self, one: Sent, target: str) -> int:
        """Note that a call begins; return when."""
        at_us = now_us()
        one.first_invoked_us = one.first_invoked_us or at_us
        one.last_invoked_us = at_us
        one.calls += 1
        self.note("invoke", number=one.number, target=target)
        return at_us

    def answered(self, one: Sent, target: str, invoked_us: int, answer: Answer, why: str) -> None:
        """Note how a call ended."""
        at_us = now_us()
        self.answers[answer] = self.answers.get(answer, 0) + 1
        if answer is Answer.ACKNOWLEDGED:
            self.took_us.append(at_us - invoked_us)
            if one.acknowledged_us is None:
                one.acknowledged_us = at_us
                one.was_taken_at_once = one.calls == 1
        elif answer is Answer.WRONG:
            self.wrong.append(f"message {one.number} at {target}: {why}")
        self.note(answer.value, number=one.number, target=target, why=why)

    def close(self) -> None:
        """Write what is left."""
        with self._lock:
            self._file.close()

    def note_all(self, what: str, facts: Iterable[Any]) -> None:
        """Write a line for each dataclass."""
        for one in facts:
            self.note(what, **asdict(one))


def name_of(connection_id: str, message_id: str) -> str:
    """Name a message as the service must tell it from every other."""
    return f"{connection_id} {message_id}"
