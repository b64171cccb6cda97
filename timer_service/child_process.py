"""How a child process is started, recorded, ended, and found again after a crash.

Called by `supervisor`, `embedded` and the tests' servers. Decides nothing about when to start or
stop: it only knows how. Linux and macOS; where the system can tie a child's life to its parent's
(Linux), it does, and elsewhere `stop_leftovers` finds what outlived its parent.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from timer_service import tied_child
from timer_service.clock import monotonic_s

LOG_LIMIT_BYTES = 5_000_000
TAIL_BYTES = 8_192
TAIL_LINES = 15
LEFTOVER_STOP_S = 5.0
"""How long a leftover may take to end by itself before it is killed."""


@dataclass(frozen=True)
class Account:
    """The user and group a child runs as, by number. Only root can choose one."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to treat it.

    ``ready`` is asked again and again until it is true: it must answer at once and never raise.
    ``env`` is the whole environment; None passes on the parent's. A child with ``restart=False``
    takes everything down with it when it ends. ``on_parent_death`` is gentle by default, so that a
    child with workers of its own can end them; the next start deals with one that hangs. Children
    stop in reverse order, except that one that ``stops_beside`` stops together with the one before.
    ``sockets`` it inherits under their own numbers, at each of its starts; they are the plan's. One
    that is ``expendable`` may be killed by what it works on, so it is started again however often.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = field(default=None, repr=False)
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 5.0
    on_parent_death: signal.Signals = signal.SIGTERM
    restart: bool = True
    stops_beside: bool = False
    expendable: bool = False
    sockets: Sequence[socket.socket] = ()
    account: Account | None = None
    cwd: Path | None = None


def start_child(spec: ChildSpec, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C in a terminal misses it.

    ``output`` takes both its streams; without it they are the parent's. Call this from a thread
    that lasts as long as the process: Linux ends the child with the *thread* that started it.

    Raises:
        OSError: the program is missing, or may not be executed.
    """
    environ = os.environ if spec.env is None else spec.env
    if shutil.which(spec.argv[0], path=environ.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), spec.argv[0])
    argv, account = list(spec.argv), spec.account
    if sys.platform == "linux":
        who = "-" if account is None else f"{account.uid}:{account.gid}"
        tie = [sys.executable, "-I", "-S", tied_child.__file__, str(os.getpid())]
        argv = [*tie, str(int(spec.on_parent_death)), who, *argv]
        account = None  # who it is changes there
    return subprocess.Popen(  # noqa: S603 - our own programs
        argv,
        env=environ,
        cwd=spec.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        process_group=0,
        pass_fds=[one.fileno() for one in spec.sockets],
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )


def kill_group(pid: int) -> None:
    """Kill whatever is left of the process group a child led."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def open_log(path: Path) -> IO[bytes]:
    """Open a child's log to be added to; one that has grown long is moved aside first."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def last_lines(path: Path) -> str:
    """Return the end of a log, indented, for a message that says why its child failed."""
    with path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines)


def accepts_connections(host: str, port: int) -> bool:
    """Tell whether something listens there; a plain `ready` for a server."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def describe_end(returncode: int) -> str:
    """Say how a process ended: ``ended with exit code 3``, ``was killed by SIGKILL``."""
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


def process_identity(pid: int) -> str | None:
    """Name a living process so that no later one with the same number is taken for it.

    Returns None where there is no such process, or only its unreaped remains.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        # proc_pid_stat(5): after the name, which may hold anything, state is first, start is 20th
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    answer = subprocess.run(  # noqa: S603 - a number and our own words
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - where it is differs
        check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
    ).stdout  # fmt: skip
    state, _, began = answer.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()


def record_child(run_dir: Path, spec: ChildSpec, pid: int) -> None:
    """Note a running child in ``<run_dir>/<name>.json``, for whoever comes after a crash."""
    note = {"pid": pid, "identity": process_identity(pid), "signal": int(spec.stop_signal)}
    (run_dir / f"{spec.name}.json").write_text(json.dumps(note))


def forget_child(run_dir: Path, name: str) -> None:
    """Remove the note of a child that has ended."""
    (run_dir / f"{name}.json").unlink(missing_ok=True)


def stop_leftovers(run_dir: Path) -> list[str]:
    """End every noted child that outlived its supervisor; returns their names.

    The caller holds the folder's lock, so a noted child that is still alive has no owner.
    """
    leftovers = list(_living_leftovers(run_dir))
    for _, pid, _, stop_signal in leftovers:
        with suppress(ProcessLookupError):
            os.kill(pid, stop_signal)
    deadline_s = monotonic_s() + LEFTOVER_STOP_S
    for _, pid, identity, _ in leftovers:
        while process_identity(pid) == identity and monotonic_s() < deadline_s:
            time.sleep(0.02)
        if process_identity(pid) == identity:
            kill_group(pid)
            while process_identity(pid) == identity:
                time.sleep(0.02)
    for note in run_dir.glob("*.json"):
        note.unlink()
    return [name for name, *_ in leftovers]


def _living_leftovers(run_dir: Path) -> Iterator[tuple[str, int, str, int]]:
    for path in sorted(run_dir.glob("*.json")):
        try:
            note = json.loads(path.read_text())
            pid, identity, stop_signal = int(note["pid"]), note["identity"], int(note["signal"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # the crash came while it was written: the child had only just started
        if identity is not None and process_identity(pid) == identity:
            yield path.stem, pid, identity, stop_signal
