"""Carries out what many threads ask for at one time together: one transaction instead of many.

Whoever comes first leads: it takes what has gathered, carries it out, and hands the lead to the
first of those who came meanwhile. Nobody ever waits for company: alone, a caller's work begins at
once. What cannot be done in company its caller does alone. Knows nothing of what the work is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from threading import Event, Lock
from typing import Generic, TypeVar

Work = TypeVar("Work")
Answer = TypeVar("Answer")


class Alone(Enum):
    """The answer that is none."""

    ALONE = "to be done alone"


class TooBusy(Exception):
    """No group took the work up in time; it was not begun."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Work, Answer]):
    work: Work
    woken: Event = field(default_factory=Event)
    leads: bool = False
    answer: Answer | BaseException | Alone = Alone.ALONE


class GroupCommit(Generic[Work, Answer]):
    """Groups the work of concurrent callers.

    ``carry_out`` gets what gathered and answers for each in the same order: with an answer, with
    an error for its caller, or with ALONE. Its own errors are everybody's. Up to ``most_groups``
    run at one time, of up to ``most_works`` each.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Work]], Sequence[Answer | BaseException | Alone]],
        *,
        most_groups: int,
        most_works: int,
        patience_s: float,
    ) -> None:
        self._carry_out = carry_out
        self._most_groups = most_groups
        self._most_works = most_works
        self._patience_s = patience_s
        self._lock = Lock()
        self._waiting: deque[_Entry[Work, Answer]] = deque()
        self._groups = 0

    def do(self, work: Work, *, patience_s: float | None = None) -> Answer | Alone:
        """Have a piece of work done, in company where there is some.

        Raises:
            TooBusy: it was not begun within ``patience_s``, usually that of all.
            Exception: whatever went wrong with it.
        """
        entry = _Entry[Work, Answer](work)
        with self._lock:
            self._waiting.append(entry)
            if self._groups < self._most_groups:
                self._groups += 1
                entry.leads = True
        patience_s = self._patience_s if patience_s is None else patience_s
        if not entry.leads and not entry.woken.wait(patience_s):
            self._withdraw(entry)
            entry.woken.wait()  # it is being carried out, which has time-outs of its own
        if entry.leads:
            self._lead()
        if isinstance(entry.answer, BaseException):
            raise entry.answer
        return entry.answer

    def _withdraw(self, entry: _Entry[Work, Answer]) -> None:
        with self._lock:
            if entry in self._waiting and not entry.leads:
                self._waiting.remove(entry)
                raise TooBusy

    def _lead(self) -> None:
        with self._lock:
            size = min(len(self._waiting), self._most_works)
            group = [self._waiting.popleft() for _ in range(size)]
        try:
            answers = self._carry_out([entry.work for entry in group])
            for entry, answer in zip(group, answers, strict=True):
                entry.answer = answer
        except BaseException as error:
            for entry in group:
                entry.answer = error
            raise
        finally:
            self._hand_on()
            for entry in group:
                entry.woken.set()

    def _hand_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.set()
            else:
                self._groups -= 1
