"""The folder `up` keeps everything in: one owner at a time, nothing left running from before.

Called by `timer-service up` and `demo`, and by the tests' servers. Layout: ``secrets.json``,
``servers.json``, ``lock``, ``logs/``, ``run/`` (notes of running children), ``postgres/``,
``redis/``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from timer_service.child_process import stop_leftovers
from timer_service.embedded.state import (
    Secrets,
    ServerNotes,
    load_notes,
    load_or_make_secrets,
    save_notes,
)
from timer_service.errors import ConfigurationError


class DataDirectory:
    """A data folder, made where it is missing and held for as long as the block lasts."""

    def __init__(self, path: Path, *, tell: Callable[[str], None] = lambda _: None) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self._tell = tell
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take the folder, and end whatever a crash left running in it.

        Raises:
            ConfigurationError: it cannot be made or written to, or another process holds it.
        """
        try:
            # root's Postgres runs as nobody and must be able to enter, though not to read
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self._take_lock()
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self.run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            self._release()
            raise ConfigurationError(
                f"--data {self.path} cannot be used: {error.strerror}"
            ) from error
        for name in stop_leftovers(self.run):
            self._tell(f"{name} was still running from before: stopped")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the folder free. The kernel does so too when the process dies."""
        self._release()

    def secrets(self) -> Secrets:
        """Return the folder's secrets, made at the first call ever."""
        return load_or_make_secrets(self.path)

    def notes(self) -> ServerNotes:
        """Return what is known of the folder's servers."""
        return load_notes(self.path)

    def keep(self, notes: ServerNotes) -> None:
        """Store what is known of the folder's servers."""
        save_notes(self.path, notes)

    def tell(self, line: str) -> None:
        """Pass a line on to whoever runs `up`."""
        self._tell(line)

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace") or "unknown"
            self._release()
            raise ConfigurationError(
                f"{self.path} is in use by another `up` (process {holder}): stop it, or give this "
                "one a folder of its own with --data"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, str(os.getpid()).encode())

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
