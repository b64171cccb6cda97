"""How a web worker shows the process that started it that it runs, and what comes of silence.

A worker that is stopped, or hangs where no thread of it gets to run, goes on holding its
connections and looks alive to whoever only waits for its end. So each worker counts up, and its
parent looks whether it did (as gunicorn's arbiter does with its workers' files).
"""

from __future__ import annotations

import ctypes
import multiprocessing
from collections.abc import Callable
from threading import Event, Thread

import structlog

log = structlog.get_logger(__name__)

BEAT_EVERY_S = 1.0
SILENT_LOOKS = 5
"""A parent's looks, one each ``BEAT_EVERY_S``. Counted, not measured: where the whole machine or
both processes stood still, nobody has hung."""


class SignOfLife:
    """One worker's; made by the parent, and handed to the worker as it starts."""

    def __init__(self) -> None:
        # Shared memory: a write to it needs no system call and fails on no full disk.
        self._beats = multiprocessing.RawValue(ctypes.c_uint32, 0)
        self._seen = -1
        self._silent_looks = 0

    def keep_up(self, each_time: Callable[[], object]) -> None:
        """Show signs from a thread of its own until the process ends, and call something with each.

        The worker calls it, before anything that takes long.
        """
        Thread(target=self._beat, args=(each_time,), name="sign-of-life", daemon=True).start()

    def is_silent(self) -> bool:
        """Look, as the parent does every ``BEAT_EVERY_S``; tell whether it was silent for long."""
        beats = int(self._beats.value)
        self._silent_looks = self._silent_looks + 1 if beats == self._seen else 0
        self._seen = beats
        return self._silent_looks >= SILENT_LOOKS

    def _beat(self, each_time: Callable[[], object]) -> None:
        pause = Event()
        while True:
            self._beats.value += 1
            try:
                each_time()
            except Exception:
                # Silence would be the worker's death.
                log.exception("look_of_worker_failed")
            pause.wait(BEAT_EVERY_S)
