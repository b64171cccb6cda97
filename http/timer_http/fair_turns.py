"""Hands out turns so that whoever asks for many delays nobody who asks for few.

`admission` asks it before what is expensive. While turns are free each caller gets one, whoever it
is. Otherwise it waits in its own name's queue, and the queues are served in rotation. When there is
no room to wait, the longest queue gives up its newest. Knows nothing of what is done in a turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Event, Lock


@dataclass(slots=True, eq=False)
class _Waiter:
    settled: Event = field(default_factory=Event)
    has_turn: bool = False


class FairTurns:
    """Up to ``at_once`` turns at one time, with room for ``waiting`` callers that wait for one."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._lock = Lock()
        self._free = at_once
        self._room = waiting
        self._queues: OrderedDict[Hashable, deque[_Waiter]] = OrderedDict()
        """None is empty; the first has the next turn. While one is here no turn is free."""

    def take(self, who: Hashable, within_s: float) -> bool:
        """Wait for a turn, which `give_back` ends; False where there is none in time or no room."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            if not self._room and not self._shed_for(who):
                return False
            self._room -= 1
            waiter = _Waiter()
            self._queues.setdefault(who, deque()).append(waiter)
        if not waiter.settled.wait(within_s):
            self._withdraw(who, waiter)
        return waiter.has_turn

    def give_back(self) -> None:
        """Give the turn to the next."""
        with self._lock:
            if not self._queues:
                self._free += 1
                return
            who, queue = next(iter(self._queues.items()))
            self._queues.move_to_end(who)
            waiter = queue.popleft()
            self._settle(who, waiter, has_turn=True)

    def _shed_for(self, who: Hashable) -> bool:
        """Make room for one more in a name's queue, unless that would be the longest then."""
        longest = max(self._queues, key=lambda one: len(self._queues[one]), default=who)
        if len(self._queues.get(longest, ())) <= len(self._queues.get(who, ())) + 1:
            return False
        self._settle(longest, self._queues[longest].pop(), has_turn=False)
        return True

    def _withdraw(self, who: Hashable, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.settled.is_set():
                self._queues[who].remove(waiter)
                self._settle(who, waiter, has_turn=False)

    def _settle(self, who: Hashable, waiter: _Waiter, *, has_turn: bool) -> None:
        """Tell one that is no longer in its queue what it has."""
        if not self._queues[who]:
            del self._queues[who]
        self._room += 1
        waiter.has_turn = has_turn
        waiter.settled.set()
