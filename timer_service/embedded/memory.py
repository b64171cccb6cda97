"""How much memory an embedded server may count on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MB = 2**20
LEAST_BUFFERS_MB = 128
MOST_BUFFERS_MB = 1024
_SHARE = 16
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # Linux, control groups version 2


def postgres_buffers_mb(limit_file: Path = _CONTAINER_LIMIT) -> int:
    """Return the size of Postgres's shared buffers: a sixteenth of the memory, within bounds.

    A million live chats want a gigabyte; a small shop's machine keeps Postgres's own 128 MB.
    """
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        memory_mb = min(memory_mb, int(limit_file.read_text()) // MB)
    return max(LEAST_BUFFERS_MB, min(MOST_BUFFERS_MB, memory_mb // _SHARE))
