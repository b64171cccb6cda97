"""What every embedded server has in common: how it is named, found ready, and given a port."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from timer_service.child_process import ChildSpec
from timer_service.errors import TimerServiceError

HOST = "127.0.0.1"
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""All a server gets to see: no key of ours, and no variable of the user's that would bend it."""


class EmbeddedServerError(TimerServiceError):
    """An embedded server cannot be had here; the message says what is missing and what to do."""


_QUIET_PORTS = (20_000, 32_000)
"""Below what Linux (32768) and macOS (49152) take outgoing connections' ports from."""
_TRIES = 20


@dataclass(frozen=True)
class EmbeddedServer:
    """A server ready to be started: ``spec`` is what to supervise, ``url`` holds its password."""

    spec: ChildSpec
    url: str = field(repr=False)
    software: str
    """For people, such as ``PostgreSQL 18.6``."""


@dataclass(frozen=True)
class Program:
    """A server program found on this machine."""

    path: Path
    family: str
    """``PostgreSQL``, ``Redis`` or ``Valkey``: what wrote a data folder can read it."""
    version: tuple[int, ...]

    def __str__(self) -> str:
        """Name it for people."""
        return f"{self.family} {dotted(self.version)}"


def dotted(version: tuple[int, ...]) -> str:
    """Write a version as ``18.6``."""
    return ".".join(map(str, version))


def identify(path: Path) -> Program | None:
    """Ask a program for its name and version; None where it cannot run here.

    Source: `--version` of PostgreSQL 15 and 18, Redis 7.0 and Valkey 9.1, November 2026.
    """
    try:
        said = subprocess.run(  # noqa: S603 - a server program's own --version
            [str(path), "--version"], check=True, capture_output=True, text=True, timeout=10
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(PostgreSQL|Redis|Valkey)\D*?(\d+(?:\.\d+)*)", said)
    if found is None:
        return None
    return Program(path, found[1], tuple(int(part) for part in found[2].split(".")))


def choose_port(preferred: int | None) -> int:
    """Return a free port of the loopback address, the preferred one where it is free.

    Not one that outgoing connections are given: while the server restarts, a client's could take
    it (even one that tries to reach that very port), and the server could never come back.
    """
    chosen = (random.randrange(*_QUIET_PORTS) for _ in range(_TRIES))  # noqa: S311 - no secret
    for port in (preferred, *chosen, 0):
        if port is not None:
            with suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    raise EmbeddedServerError("no free port on 127.0.0.1")
