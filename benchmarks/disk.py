"""What the disk alone takes to flush a little, in the same run: no commit can be faster.

Virtual disks stall now and then, with nothing of ours running; a benchmark that closes rows says so
beside its own figures.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.report import Report
from timer_service.clock import monotonic_s

LABEL = "the disk alone, 8 kB flushed"

_SECONDS = 15.0
_EVERY_S = 0.01
_BLOCK = 8_192
_BLOCKS = 2_048


def tell_flushes(report: Report, folder: Path, *, at_most_s: float) -> None:
    """Flush 8 kB a hundred times a second, as a hundred commits would, and add the spread."""
    path = folder / "flushed"
    took_ms: list[float] = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        # Written once before: as in Postgres's log, no flush has to tell the file's new size.
        os.pwrite(handle, bytes(_BLOCK * _BLOCKS), 0)
        os.fsync(handle)
        over_at_s = monotonic_s() + min(_SECONDS, at_most_s)
        while monotonic_s() < over_at_s:
            began_s = monotonic_s()
            os.pwrite(handle, os.urandom(_BLOCK), len(took_ms) % _BLOCKS * _BLOCK)
            os.fdatasync(handle)
            took_ms.append(1000 * (monotonic_s() - began_s))
            time.sleep(_EVERY_S)
    finally:
        os.close(handle)
        path.unlink()
    if took_ms:
        report.spread(LABEL, took_ms)
