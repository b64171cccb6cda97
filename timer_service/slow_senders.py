"""Cuts off whoever takes far too long to send a request.

Run by each web worker in a thread. A server bounds how long a request's head may take; nothing in
WSGI bounds its body, and each one that drips in holds a thread that cannot be interrupted. The
kernel knows: of a request under way the caller had the last word. Where that stays so for longer
than any answer of ours takes, the connection is shut down, which ends the reading.
Who sends much, and not too slowly, has the time it takes.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

CUT_AFTER_S = 10.0
"""Between the first byte of a request and the first of its answer; as long as a head may take."""
LOOK_EVERY_S = 1.0

LEAST_BYTES = 64 * 1024
"""What must come between two looks of a body that takes long for being large: a file to be sent."""

_TCP_INFO = struct.Struct("44xI4xI72xQ16xII")
"""When data were last sent and last received, in ms ago, how many bytes came, and how many segments
of data came and went: five fields of tcp_info (source: linux/tcp.h, Linux 4.6 to 6.18)."""


@dataclass(frozen=True, slots=True)
class _Seen:
    looks: int = 0
    received_bytes: int = 0


class SlowSenders:
    """Those connections to one port, in this process, whose callers have had the last word.

    Where the kernel does not tell (it is Linux's to) nobody is cut off.
    """

    def __init__(
        self, port: int, *, cut_after_s: float = CUT_AFTER_S, look_every_s: float = LOOK_EVERY_S
    ) -> None:
        self._port = port
        self._look_every_ms = 1000 * look_every_s
        self._most_looks = cut_after_s / look_every_s
        self._seen: dict[int, _Seen] = {}

    def look_once(self) -> int:
        """Look at every connection, and cut off those seen too often; return how many.

        To be called every ``look_every_s``.
        """
        if not hasattr(socket, "TCP_INFO"):
            return 0
        seen: dict[int, _Seen] = {}
        cut = 0
        for one in _sockets():
            with suppress(OSError), one:
                received_bytes = self._received_of_waiting(one) if self._is_caller(one) else None
                if received_bytes is None:
                    continue
                inode = os.fstat(one.fileno()).st_ino
                before = self._seen.get(inode, _Seen())
                is_slow = received_bytes - before.received_bytes < LEAST_BYTES
                looks = before.looks + is_slow
                if looks > self._most_looks:
                    one.shutdown(socket.SHUT_RDWR)
                    cut += 1
                else:
                    seen[inode] = _Seen(looks, received_bytes)
        self._seen = seen
        if cut:
            log.warning("slow_senders_cut_off", connections=cut)
        return cut

    def _is_caller(self, one: socket.socket) -> bool:
        return (
            one.family in {socket.AF_INET, socket.AF_INET6}
            and one.type == socket.SOCK_STREAM
            and one.getsockname()[1] == self._port
            and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )

    def _received_of_waiting(self, one: socket.socket) -> int | None:
        """Return how many bytes came from a caller who had the last word.

        None where an answer went out since the last look, or nobody waits for one.
        """
        told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        if len(told) < _TCP_INFO.size:
            return None  # an older kernel
        sent_ms: int
        received_ms: int
        received_bytes: int
        sent_ms, received_ms, received_bytes, received, sent = _TCP_INFO.unpack(told)
        # To whom nothing was sent yet, "last sent" is when the connection was made.
        has_last_word = received_ms < sent_ms if sent else bool(received)
        return received_bytes if has_last_word and sent_ms >= self._look_every_ms else None


def _sockets() -> Iterator[socket.socket]:
    """Give each socket of this process under a descriptor of its own, to be closed.

    No other file is to be closed: that would drop every lock this process has on it (fcntl(2)), the
    spool's among them.
    """
    for one in Path("/dev/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, or no descriptor left
            if not _is_socket(int(one.name)):
                continue
            descriptor = os.dup(int(one.name))
            if _is_socket(descriptor):  # else another file took its number meanwhile: left open
                yield socket.socket(fileno=descriptor)


def _is_socket(descriptor: int) -> bool:
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
