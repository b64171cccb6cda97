"""The world outside: a model that is sometimes slow or wrong, and a program told of every close.

Both note what they saw. The model runs in the soak's process, the receiver in the service's own
workers, which import it by its dotted path.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

from benchmarks.soak.history import History, ModelCall, Told, now_us
from tests.support.fake_model import FakeModel, SeenRequest, content, error, raw, summary
from timer_service.demo.loopback_server import Reply

TOLD_FILE = "SOAK_TOLD_FILE"
"""The environment variable that says where the receiver writes."""
RECEIVER = "benchmarks.soak.fakes.be_told"

_NUMBER = re.compile(r"order ([0-9]{7})")


def text_of(number: int) -> str:
    """Return a message's text: it names its number and is worth a summary."""
    return f"Is order {number:07d} on its way? I have been waiting since yesterday"


def numbers_in(text: str) -> tuple[int, ...]:
    """Return the numbers of the messages a text names, each once, in their order."""
    return tuple(dict.fromkeys(int(found) for found in _NUMBER.findall(text)))


class SoakModel(FakeModel):
    """Summarises by naming the messages it was given; what else it does follows from them.

    ``is_gentle``: it never fails in a way that is tried again later.
    """

    def __init__(self, history: History, *, is_gentle: bool) -> None:
        super().__init__()
        self._history = history
        self._is_gentle = is_gentle
        self._asked: dict[tuple[int, ...], int] = {}

    def take_reply(self, seen: SeenRequest) -> Reply:
        """Answer, and note the call."""
        at_us = now_us()
        numbers = numbers_in(seen.user_text)
        times = self._asked[numbers] = self._asked.get(numbers, 0) + 1
        outcome = self._choose(numbers, times)
        call = ModelCall(at_us, numbers, outcome, outcome in {"good", "slow"})
        self._history.model_calls.append(call)
        self._history.note("model", numbers=numbers, outcome=outcome)
        if outcome == "slow":
            time.sleep(0.2 + self._draw(numbers, "slow") * (0.5 if self._is_gentle else 4))
        return {
            "refused": error(400, code="content_policy"),
            "broken": error(500),
            "busy": error(429, code="rate_limit_exceeded", kind="requests", retry_after="2"),
            "garbage": content("Here is your summary!"),
            "no_json": raw("<html>"),
        }.get(outcome) or summary(text="Orders: " + ", ".join(f"order {n:07d}" for n in numbers))

    def _choose(self, numbers: tuple[int, ...], times: int) -> str:
        """Three answers in a hundred are slow, and about as many wrong, the first time."""
        draw = self._draw(numbers, "outcome")
        if draw < 0.03:
            return "slow"
        if draw < 0.04:
            return "refused"
        if not self._is_gentle and times == 1 and draw < 0.06:
            return ("broken", "busy", "garbage", "no_json")[int(draw * 10_000) % 4]
        return "good"

    @staticmethod
    def _draw(numbers: tuple[int, ...], what: str) -> float:
        digest = hashlib.sha256(f"{what} {numbers}".encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32


def be_told(session: dict[str, Any]) -> None:
    """Be the function the service calls when a session closes."""
    where = os.open(os.environ[TOLD_FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(where, f"{now_us()} {session['id']}\n".encode())
    finally:
        os.close(where)


def read_told(path: Path) -> list[Told]:
    """Read what the receiver wrote."""
    if not path.exists():
        return []
    pairs = (line.split() for line in path.read_text().splitlines(keepends=True) if "\n" in line)
    return [Told(int(at_us), session_id) for at_us, session_id in pairs]
