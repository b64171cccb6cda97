"""Serves the web application with granian, on a socket that may be older than this process.

`timer-service web` becomes this (``python -m timer_service.web_server <descriptor>``). One socket
is shared by all workers, so whoever waits in its queue is taken by whichever worker lives:

- SIGHUP replaces the workers one after the other, each by one that is there before it goes.
- SIGTERM, and a worker's replacement, is gentle: a worker that is to end takes no new connection,
  and every answer says ``Connection: close``, so that callers who keep connections leave by
  themselves; a moment later what is under way is finished, and only idle connections are cut.
- A worker that hangs is killed and replaced; meanwhile the other takes whoever comes.

This process never imports the application: a worker that starts after an upgrade is all new.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels, logger
from granian.server.mp import MPServer, WorkerProcess

from timer_service.listening_socket import BACKLOG
from timer_service.signs_of_life import BEAT_EVERY_S, SignOfLife

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WORKERS = 2
"""One per core of the smallest machine we mean to run on; a crash leaves one answering."""
CONNECTIONS = 512
"""As many as a worker takes at one time, and a thread for each: whoever sends slowly holds one up
that nobody else needs. Made when needed; more than may wait (`timer_http.admission`): there is one
to refuse."""
HEADER_READ_TIMEOUT_MS = 10_000
"""Nothing of a slow request's head holds a thread."""
LEAVE_S = 1.0
"""How long a worker that is to end goes on serving those it has, asking them to leave."""
KILL_AFTER_S = 5
"""Every request ends within a second; only live pages last longer."""
REPLACE_AFTER_S = 2.0
"""How long a new worker has to get ready before the one it replaces goes."""
ASK_TO_LEAVE_EVERY = 100
"""Of a worker's answers, so many apart, one asks its caller to connect again. Whoever is there when
many connect at once gets them all, and one worker would do all the work for as long as they stay.
nginx does the same (``keepalive_requests``)."""

_LEAVE_SIGNAL = signal.SIGUSR1


class _Application:
    """The application of one worker, which asks callers to connect again.

    Now and then, so that they spread over the workers; each of them once its worker is to end: by
    then it takes no new ones.
    """

    def __init__(self, application: WSGIApplication, descriptor: int) -> None:
        self._application = application
        self._descriptor = descriptor
        self._is_leaving = False
        self._answers = itertools.count(1)
        signal.signal(_LEAVE_SIGNAL, self._leave)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if next(self._answers) % ASK_TO_LEAVE_EVERY and not self._is_leaving:
            return self._application(environ, start_response)

        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            return start_response(status, [*headers, ("Connection", "close")], exc_info)

        return self._application(environ, start)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            _stop_accepting(self._descriptor)


def _stop_accepting(descriptor: int) -> None:
    """Put a socket that nobody calls in the place of the shared one, in this process only.

    granian has no way to be told so. Who was accepted last has still time to send a request; who is
    accepted and cut off before that has been reset.
    """
    deaf = socket.create_server(("127.0.0.1", 0))
    deaf.setblocking(False)
    shared = os.fstat(descriptor)
    for one in Path("/dev/fd").iterdir():  # granian works on a duplicate
        with suppress(OSError):
            its = os.fstat(int(one.name))
            if (its.st_dev, its.st_ino) == (shared.st_dev, shared.st_ino):
                os.dup2(deaf.fileno(), int(one.name))
    deaf.detach()


def load_application(descriptor: int, sign_of_life: SignOfLife) -> WSGIApplication:
    """Load the application, in a worker, which looks after itself from then on."""
    # never in the process that starts workers
    from timer_service.slow_senders import SlowSenders  # noqa: PLC0415

    with socket.socket(fileno=os.dup(descriptor)) as listening:
        slow_senders = SlowSenders(listening.getsockname()[1])
    sign_of_life.keep_up(slow_senders.look_once)
    from timer_http.wsgi import app  # noqa: PLC0415
    from timer_service.logs import set_up_logs  # noqa: PLC0415

    set_up_logs()
    return _Application(app, descriptor)


class _Worker(WorkerProcess):
    sign_of_life: SignOfLife

    def terminate(self) -> None:
        """Let it ask its callers to leave, then end it as granian does."""
        self.interrupt_by_parent = True
        if not self.inner.is_alive():
            return
        os.kill(self.inner.pid, _LEAVE_SIGNAL)
        ending = threading.Timer(LEAVE_S, self.inner.terminate)
        ending.daemon = True
        ending.start()


class WebServer(MPServer):
    """granian on one shared socket, which it did not make and does not close before its workers."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(
            "timer_http.wsgi:app",
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            websockets=False,
            workers=WORKERS,
            blocking_threads=CONNECTIONS,
            backpressure=CONNECTIONS,
            backlog=BACKLOG,
            http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_TIMEOUT_MS),
            log_level=LogLevels.warning,
            respawn_failed_workers=True,
            respawn_interval=REPLACE_AFTER_S,
            workers_kill_timeout=KILL_AFTER_S,
        )
        self._listening = listening

    def _init_shared_socket(self) -> None:
        # What granian does itself on systems without SO_REUSEPORT's balancing: a socket per worker
        # would take those who wait in it along when the worker ends.
        self._listening.setblocking(False)
        self._listening.set_inheritable(True)
        self._sso = self._listening
        # granian types as None what is set here, and leaves out what a holder is made of
        descriptor = self._listening.fileno()
        self._sfd = descriptor  # type: ignore[assignment]
        self._shd = SocketHolder(descriptor, False, BACKLOG)  # type: ignore[assignment, call-arg]
        self._ssp = None

    def _drop_shared_socket(self) -> None:
        """Keep it open: it is not ours, and whoever waits in it waits for our successor."""

    def _spawn_worker(  # type: ignore[override]  # as granian has it
        self, idx: int, target: Any, callback_loader: Any
    ) -> WorkerProcess:
        sign_of_life = SignOfLife()
        made = super()._spawn_worker(idx, target, partial(callback_loader, sign_of_life))
        made.__class__ = _Worker  # granian names the class in the middle of what it passes on
        assert isinstance(made, _Worker)
        made.sign_of_life = sign_of_life
        return made

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        """Start the workers, and look after them from then on."""
        super().startup(spawn_target, target_loader)  # type: ignore[no-untyped-call]
        threading.Thread(target=self._look_after_workers, name="workers", daemon=True).start()

    def _look_after_workers(self) -> None:
        pause = threading.Event()
        while not self.interrupt_signal:
            pause.wait(BEAT_EVERY_S)
            silent = [one for one in list(self.wrks) if _is_silent(one)]
            # One at a time: of two that end at one instant granian may overlook one.
            for one in silent[:1]:
                logger.error(f"worker-{one.idx + 1} hangs and is killed")
                one.inner.kill()  # unlike the worker's own kill, has granian start another


def _is_silent(worker: WorkerProcess) -> bool:
    assert isinstance(worker, _Worker)
    return worker.sign_of_life.is_silent() and not worker.interrupt_by_parent


def main(descriptor: int) -> None:
    """Serve on an inherited listening socket until told to stop."""
    listening = socket.socket(fileno=descriptor)
    WebServer(listening).serve(
        target_loader=partial(load_application, descriptor), wrap_loader=False
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
