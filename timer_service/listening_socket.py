"""The socket that callers connect to: opened once, and older than the processes that serve on it.

Whoever stays holds it (`up`'s supervisor, or systemd) and hands it to each web process in turn:
while none serves, callers wait in the kernel's queue instead of being refused. Called by `up` and
`web_server`; decides nothing about who serves when.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from timer_service.errors import ConfigurationError

BACKLOG = 1024
"""Connections that may wait while nobody takes them: ten seconds of a hundred a second."""
_FIRST_PASSED = 3  # sd_listen_fds(3): the first descriptor systemd hands over


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Bind an address and listen; nobody is answered before a web process serves on it.

    Raises:
        ConfigurationError: the address cannot be had; says why.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}. Is another server running there? "
            "Choose another with --port."
        ) from error


def descriptor_of_systemd(environ: Mapping[str, str]) -> int | None:
    """Return the descriptor systemd handed to this very process, None where it did not.

    Source: sd_listen_fds(3), systemd 257, read November 2026.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()) or environ.get("LISTEN_FDS") in {None, "0"}:
        return None
    return _FIRST_PASSED
