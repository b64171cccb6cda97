"""Keeps a set of processes running: starts them in order, restarts them, stops them in reverse.

Called by `timer-service up`, `demo` and `work`. Says one line per event; what the children say
goes to their log files. It knows nothing of what they do: `child_process` says how one is
started and ended, the caller what they are and when they are ready.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from timer_service.child_process import (
    ChildSpec,
    describe_end,
    forget_child,
    kill_group,
    last_lines,
    open_log,
    record_child,
    start_child,
)
from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError

POLL_S = 0.05
FAST_DEATH_S = 10.0
"""A child that ends sooner than this after its start died fast."""
MAX_FAST_DEATHS = 5
FIRST_PAUSE_S = 0.2
STOP_BUDGET_S = 9.0
"""How long all children together may take to stop before the rest is killed."""
HURRIED_STOP_S = 0.5

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Step:
    """Something done once, between the children before it and after it: migrations, a greeting."""

    name: str
    action: Callable[[], object]


class ChildFailed(TimerServiceError):
    """A child could not be kept running; the message names it, its end and its last words."""


class _StopRequested(BaseException):
    """A stop signal came while a step ran: cut it short."""


@dataclass
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    fast_deaths: int = 0
    restart_at_s: float | None = None
    was_ready: bool = False


def say(line: str) -> None:
    """Write a line to standard output; a terminal that is gone is no reason to fail."""
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class Supervisor:
    """Runs a plan of children and steps in the main thread, until told to stop.

    With ``log_dir`` each child's output goes to ``<log_dir>/<name>.log``, else it is passed
    through. With ``run_dir`` running children are noted there, for `stop_leftovers` after a crash.
    """

    def __init__(
        self,
        plan: Sequence[ChildSpec | Step],
        *,
        log_dir: Path | None = None,
        run_dir: Path | None = None,
        tell: Callable[[str], None] = say,
    ) -> None:
        self._plan = plan
        self._log_dir = log_dir
        self._run_dir = run_dir
        self._tell = tell
        self._children: list[_Child] = []
        self._stop_requests = 0
        self._in_step = False
        self._wake = threading.Event()

    def run(self, task: Callable[[], int] | None = None) -> int:
        """Start everything, keep it running, stop it; returns the exit code.

        0 after SIGTERM, SIGINT or SIGHUP (a second signal hurries), 1 when a child cannot be kept
        running. With a ``task``: it runs in a thread once all is up, its answer is the exit code,
        and its end is the end of everything.

        Raises:
            Exception: whatever a step or the task raised, after all children were stopped.
        """
        with self._signals_caught():
            try:
                self._start_all()
                return self._watch(task)
            except _StopRequested:
                return 0
            except ChildFailed as failure:
                self._tell(str(failure))
                return 1
            finally:
                self._stop_all()

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_requests += 1
        self._wake.set()
        if self._in_step:
            self._in_step = False
            raise _StopRequested

    def _start_all(self) -> None:
        for item in self._plan:
            if self._stop_requests:
                raise _StopRequested
            if isinstance(item, Step):
                self._take_step(item)
                continue
            child = _Child(item)
            self._children.append(child)
            self._start(child)
            self._wait_until_ready(child)

    def _take_step(self, step: Step) -> None:
        self._in_step = True
        try:
            step.action()
        finally:
            self._in_step = False

    def _start(self, child: _Child) -> None:
        spec = child.spec
        child.restart_at_s = None
        child.started_s = monotonic_s()
        try:
            if self._log_dir is None:
                child.process = start_child(spec)
            else:
                with open_log(self._log_path(spec, self._log_dir)) as log:
                    child.process = start_child(spec, log)
        except OSError as error:
            program = spec.argv[0]
            raise ChildFailed(f"{spec.name}: {program}: {error.strerror}") from error
        if self._run_dir is not None:
            record_child(self._run_dir, spec, child.process.pid)

    def _wait_until_ready(self, child: _Child) -> None:
        spec = child.spec
        if spec.ready is not None:
            deadline_s = child.started_s + spec.ready_timeout_s
            while not spec.ready():
                if self._stop_requests:
                    raise _StopRequested
                if monotonic_s() > deadline_s:
                    raise self._failure(spec, f"not ready within {spec.ready_timeout_s:g} s")
                self._tend()
                self._wake.wait(POLL_S)
            self._tell(f"{spec.name} is ready")
        child.was_ready = True

    def _watch(self, task: Callable[[], int] | None) -> int:
        answer = None if task is None else _Answer(task, self._wake)
        while not self._stop_requests:
            self._wake.wait(POLL_S)
            if answer is not None and answer.is_there:
                return answer.take()
            self._wake.clear()
            self._tend()
        return 0

    def _tend(self) -> None:
        """Look after every child once: note who died, start who is due again."""
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child, child.process)
            if child.restart_at_s is not None and monotonic_s() >= child.restart_at_s:
                self._start(child)
        self._reap_adopted()

    def _bury(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        spec = child.spec
        self._leave(child, process)
        end = describe_end(process.returncode)
        if not child.was_ready:
            raise self._failure(spec, f"{end} before it was ready")
        if not spec.restart:
            raise self._failure(spec, end)
        lived_s = monotonic_s() - child.started_s
        child.fast_deaths = child.fast_deaths + 1 if lived_s < FAST_DEATH_S else 1
        if child.fast_deaths >= MAX_FAST_DEATHS:
            if not spec.expendable:
                raise self._failure(
                    spec, f"{end}, {MAX_FAST_DEATHS} times within {FAST_DEATH_S:g} s of its start"
                )
            child.fast_deaths = MAX_FAST_DEATHS - 1  # the pause has grown enough
        pause_s = FIRST_PAUSE_S * 2 ** (child.fast_deaths - 1)
        child.restart_at_s = monotonic_s() + pause_s
        self._tell(f"{spec.name} {end}; starting it again in {pause_s:g} s")

    def _leave(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        kill_group(process.pid)  # workers that outlived it would hold its ports
        child.process = None
        if self._run_dir is not None:
            forget_child(self._run_dir, child.spec.name)

    def _failure(self, spec: ChildSpec, what: str) -> ChildFailed:
        if self._log_dir is None:
            return ChildFailed(f"{spec.name}: {what}")
        path = self._log_path(spec, self._log_dir)
        return ChildFailed(f"{spec.name}: {what}. The end of {path}:\n{last_lines(path)}")

    @staticmethod
    def _log_path(spec: ChildSpec, log_dir: Path) -> Path:
        return log_dir / f"{spec.name}.log"

    def _reap_adopted(self) -> None:
        """Bury orphans that became ours (as process 1 of a container): nobody else would.

        The dead of our own process group are left alone: a step or a task waits for them.
        """
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return
        own = {child.process.pid for child in self._children if child.process is not None}
        with suppress(ChildProcessError, ProcessLookupError):
            while True:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if dead is None or dead.si_pid in own or os.getpgid(dead.si_pid) == os.getpgrp():
                    return
                os.waitpid(dead.si_pid, 0)

    def _stop_all(self) -> None:
        """Stop in reverse order, each group within its share of the time, and never fail."""
        groups: list[list[_Child]] = []
        for child in self._children:
            if groups and child.spec.stops_beside:
                groups[-1].append(child)
            else:
                groups.append([child])
        deadline_s = monotonic_s() + STOP_BUDGET_S
        for later, group in reversed(list(enumerate(groups))):
            self._stop_together(group, deadline_s - HURRIED_STOP_S * later)

    def _stop_together(self, group: Sequence[_Child], deadline_s: float) -> None:
        started_s = monotonic_s()
        stopping = {
            child.spec.name: (child, child.process) for child in group if child.process is not None
        }
        for child, process in stopping.values():
            if process.poll() is None:
                process.send_signal(child.spec.stop_signal)
        while stopping:
            for name, (child, process) in list(stopping.items()):
                allowed_s = HURRIED_STOP_S if self._stop_requests > 1 else child.spec.stop_timeout_s
                if process.poll() is None and monotonic_s() > min(
                    deadline_s, started_s + allowed_s
                ):
                    self._tell(f"{name} did not stop in time and was killed")
                    kill_group(process.pid)
                    process.wait()
                if process.poll() is not None:
                    self._leave(child, process)
                    for listening in child.spec.sockets:
                        listening.close()  # rather refused than kept waiting for nobody
                    self._tell(f"{name} stopped")
                    del stopping[name]
            for _, process in list(stopping.values())[:1]:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)


class _Answer:
    """A task in a thread of its own, and what came of it."""

    def __init__(self, task: Callable[[], int], wake: threading.Event) -> None:
        self._task = task
        self._wake = wake
        self._code = 1
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="task", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._code = self._task()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        self._wake.set()

    @property
    def is_there(self) -> bool:
        return not self._thread.is_alive()

    def take(self) -> int:
        """Return the task's answer, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._code
