"""A backend's callback that kills whoever calls it, where the session's context says how.

A worker process finds it as ``tests.support.poison.on_closed``.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Any

PATH = "tests.support.poison.on_closed"


def on_closed(session: dict[str, Any]) -> None:
    """Do to the process what the session's context asks for, else nothing."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    match session["context"].get("poison"):
        case "abort":
            os.abort()
        case "killed":  # what the kernel does where memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "hang":  # in C, holding the interpreter: no signal is seen, no other thread runs
            ctypes.PyDLL(None).sleep(1000)
