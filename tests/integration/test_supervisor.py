from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from timer_service import child_process, supervisor
from timer_service.child_process import (
    ChildSpec,
    open_log,
    process_identity,
    record_child,
    start_child,
    stop_leftovers,
)
from timer_service.listening_socket import open_listening_socket
from timer_service.supervisor import Step, Supervisor

ROOT = Path(__file__).resolve().parents[2]
LINUX = sys.platform == "linux"


def shell(name: str, script: str, **more: object) -> ChildSpec:
    return replace(ChildSpec(name, ("/bin/sh", "-c", script)), **more)


def forever(name: str, **more: object) -> ChildSpec:
    return shell(name, "exec sleep 1000", **more)


def noting_its_end(name: str, notes: Path) -> ChildSpec:
    started = notes.with_name(f"{name}.started")
    script = f"""
        trap 'echo {name} >> {notes}; exit 0' TERM
        touch {started}
        while :; do sleep 0.02; done
    """
    return shell(name, script, ready=started.exists)


class Plan:
    """A supervisor in this process, its lines kept."""

    def __init__(self, folder: Path, *plan: ChildSpec | Step) -> None:
        self.lines: list[str] = []
        self.logs = folder / "logs"
        self.notes = folder / "run"
        self.logs.mkdir()
        self.notes.mkdir()
        self._supervisor = Supervisor(
            plan, log_dir=self.logs, run_dir=self.notes, tell=self.lines.append
        )

    def run(self, task: Callable[[], int] | None = None) -> int:
        return self._supervisor.run(task)

    def pid_of(self, name: str) -> int:
        text = (self.notes / f"{name}.json").read_text()
        return int(text.split('"pid": ')[1].split(",")[0])


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)


def test_each_child_starts_when_the_one_before_is_ready_and_steps_run_between(
    tmp_path: Path,
) -> None:
    opened, log = tmp_path / "opened", tmp_path / "log"
    first = shell(
        "first", f"sleep 0.1; echo first >> {log}; touch {opened}; sleep 1000", ready=opened.exists
    )

    def step() -> None:
        with log.open("a") as out:
            out.write("step\n")

    second = shell("second", f"echo second >> {log}; sleep 1000")
    plan = Plan(tmp_path, first, Step("between", step), second)
    assert plan.run(lambda: wait_until(lambda: log.read_text().count("\n") == 3) - 1) == 0
    assert log.read_text().split() == ["first", "step", "second"]


def test_children_stop_in_reverse_order(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    plan = Plan(tmp_path, *(noting_its_end(name, notes) for name in ("one", "two", "three")))
    assert plan.run(lambda: 0) == 0
    assert notes.read_text().split() == ["three", "two", "one"]
    assert plan.lines[-3:] == ["three stopped", "two stopped", "one stopped"]


def test_the_answer_of_the_task_is_the_exit_code(tmp_path: Path) -> None:
    assert Plan(tmp_path, forever("any")).run(lambda: 7) == 7


def test_what_a_task_raises_comes_out_once_all_children_have_stopped(tmp_path: Path) -> None:
    plan = Plan(tmp_path, forever("any"))
    with pytest.raises(ZeroDivisionError):
        plan.run(lambda: 1 // 0)
    assert plan.lines == ["any stopped"]


def test_what_a_step_raises_comes_out_once_all_children_have_stopped(tmp_path: Path) -> None:
    plan = Plan(tmp_path, forever("before"), Step("bad", lambda: 1 // 0), forever("after"))
    with pytest.raises(ZeroDivisionError):
        plan.run()
    assert plan.lines == ["before stopped"]


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    plan = Plan(tmp_path, shell("frail", f"echo x >> {starts}; sleep 0.05; exit 3"))

    def task() -> int:
        wait_until(lambda: starts.exists() and starts.read_text().count("x") >= 3)
        return 0

    assert plan.run(task) == 0
    assert plan.lines[0] == "frail ended with exit code 3; starting it again in 0.01 s"


def test_a_child_that_keeps_dying_takes_everything_down_with_its_last_words(
    tmp_path: Path,
) -> None:
    script = "echo the disk is full >&2; exit 3"
    plan = Plan(tmp_path, forever("steady"), shell("frail", script))
    assert plan.run() == 1
    told = "\n".join(plan.lines)
    assert "frail: ended with exit code 3, 5 times within 10 s of its start" in told
    assert "the disk is full" in told
    assert plan.lines[-1] == "steady stopped"
    assert (plan.logs / "frail.log").read_text().count("full") == supervisor.MAX_FAST_DEATHS


def test_an_expendable_child_may_die_as_often_as_it_likes(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    plan = Plan(tmp_path, shell("worker", f"echo x >> {starts}; kill -9 $$", expendable=True))

    def task() -> int:
        wanted = 2 * supervisor.MAX_FAST_DEATHS
        wait_until(lambda: starts.exists() and starts.read_text().count("x") >= wanted)
        return 0

    assert plan.run(task) == 0


def test_callers_wait_in_a_childs_socket_while_it_is_started_again(tmp_path: Path) -> None:
    listening = open_listening_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]
    serve = """
        import socket, sys
        with socket.socket(fileno=int(sys.argv[1])) as listening:
            caller, _ = listening.accept()
            caller.sendall(b"here")
    """
    argv = (sys.executable, "-c", textwrap.dedent(serve), str(listening.fileno()))
    plan = Plan(tmp_path, ChildSpec("once", argv, sockets=(listening,), expendable=True))

    def call() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
            return caller.recv(10)

    def task() -> int:
        return sum(call() == b"here" for _ in range(3))

    assert plan.run(task) == 3
    with pytest.raises(ConnectionRefusedError):
        call()


def test_a_child_that_lived_long_has_its_earlier_deaths_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FAST_DEATH_S", 0.0)
    starts = tmp_path / "starts"
    plan = Plan(tmp_path, shell("frail", f"echo x >> {starts}"))

    def task() -> int:
        wait_until(lambda: starts.exists() and starts.read_text().count("x") >= 8)
        return 0

    assert plan.run(task) == 0


def test_a_child_that_may_not_restart_takes_everything_down(tmp_path: Path) -> None:
    plan = Plan(tmp_path, forever("steady"), shell("once", "kill -9 $$", restart=False))
    assert plan.run() == 1
    assert plan.lines[0].startswith("once: was killed by SIGKILL")
    assert plan.lines[-1] == "steady stopped"


def test_a_child_that_ends_before_it_is_ready_fails_the_start_at_once(tmp_path: Path) -> None:
    plan = Plan(tmp_path, shell("early", "echo port in use; exit 1", ready=lambda: False))
    assert plan.run() == 1
    assert plan.lines[0].startswith("early: ended with exit code 1 before it was ready")
    assert "  port in use" in plan.lines[0]
    assert len(plan.lines) == 1


def test_a_child_that_never_becomes_ready_fails_the_start(tmp_path: Path) -> None:
    plan = Plan(tmp_path, forever("mute", ready=lambda: False, ready_timeout_s=0.1))
    assert plan.run() == 1
    assert plan.lines[0].startswith("mute: not ready within 0.1 s")


def test_a_program_that_is_missing_fails_the_start(tmp_path: Path) -> None:
    plan = Plan(tmp_path, ChildSpec("ghost", ("/nonexistent/ghost",)))
    assert plan.run() == 1
    assert plan.lines == ["ghost: /nonexistent/ghost: No such file or directory"]


def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    deaf = shell(
        "deaf",
        f"trap '' TERM; touch {started}; while :; do sleep 0.02; done",
        ready=started.exists,
        stop_timeout_s=0.1,
    )
    plan = Plan(tmp_path, deaf)
    assert plan.run(lambda: 0) == 0
    assert plan.lines[1:] == ["deaf did not stop in time and was killed", "deaf stopped"]


def test_all_children_together_stop_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "STOP_BUDGET_S", 1.0)
    monkeypatch.setattr(supervisor, "HURRIED_STOP_S", 0.1)
    children = []
    for name in ("one", "two", "three"):
        started = tmp_path / name
        script = f"trap '' TERM; touch {started}; while :; do sleep 0.02; done"
        children.append(shell(name, script, ready=started.exists, stop_timeout_s=30))
    plan = Plan(tmp_path, *children)
    began_s = time.monotonic()
    assert plan.run(lambda: 0) == 0
    assert time.monotonic() - began_s < 2.5
    assert sum("was killed" in line for line in plan.lines) == 3


def test_what_a_dead_child_left_running_in_its_group_is_killed(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    plan = Plan(tmp_path, shell("master", f"sleep 1000 & echo $! > {worker}; exit 1"))
    assert plan.run() == 1
    pid = int(worker.read_text())
    wait_until(lambda: process_identity(pid) is None, what="the worker is gone")


def test_children_are_in_groups_of_their_own_so_ctrl_c_misses_them(tmp_path: Path) -> None:
    plan = Plan(tmp_path, forever("any"))

    def task() -> int:
        pid = plan.pid_of("any")
        assert os.getpgid(pid) == pid != os.getpgrp()
        return 0

    assert plan.run(task) == 0


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    Plan(tmp_path, forever("any")).run(lambda: 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_log_grown_long_is_moved_aside_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "LOG_LIMIT_BYTES", 10)
    path = tmp_path / "web.log"
    path.write_text("short")
    with open_log(path) as log:
        log.write(b" and sweet")
    with open_log(path) as log:
        log.write(b"new")
    assert path.read_text() == "new"
    assert (tmp_path / "web.log.1").read_text() == "short and sweet"


class Process:
    """A supervisor in a process of its own, to send signals to."""

    def __init__(self, folder: Path, body: str) -> None:
        script = folder / "plan.py"
        script.write_text(
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from timer_service.child_process import ChildSpec\n"
            "from timer_service.supervisor import Step, Supervisor\n"
            f"folder = Path({str(folder)!r})\n" + textwrap.dedent(body)
        )
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(script)], env=environ, stdout=output, stderr=output
            )

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self, *, within_s: float = 8.0) -> int:
        return self.process.wait(within_s)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output.read_text(), what=f"{text!r} is said")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(body: str) -> Process:
        started.append(Process(tmp_path, body))
        return started[-1]

    yield start
    for one in started:
        one.end()


STEADY = """
    ready = Step("ready", lambda: print("all is up", flush=True))
    child = ChildSpec("child", ["/bin/sh", "-c", "echo $$ > %s; exec sleep 1000"])
    sys.exit(Supervisor([child, ready]).run())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_everything_with_exit_code_0(
    process: Callable[[str], Process], tmp_path: Path, number: int
) -> None:
    running = process(STEADY % shlex.quote(str(tmp_path / "pid")))
    running.wait_for("all is up")
    pid = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    running.signal(number)
    assert running.exit_code() == 0
    assert process_identity(pid) is None
    assert running.output.read_text() == "all is up\nchild stopped\n"


def test_a_second_signal_hurries(process: Callable[[str], Process], tmp_path: Path) -> None:
    running = process("""
        started = folder / "started"
        script = f"trap '' TERM; touch {started}; while :; do sleep 0.02; done"
        deaf = ChildSpec("deaf", ["/bin/sh", "-c", script], ready=started.exists, stop_timeout_s=60)
        sys.exit(Supervisor([deaf]).run())
    """)
    running.wait_for("deaf is ready")
    running.signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        running.exit_code(within_s=1.0)
    running.signal(signal.SIGTERM)
    assert running.exit_code(within_s=3.0) == 0


def test_a_stop_signal_cuts_a_step_short(process: Callable[[str], Process]) -> None:
    running = process("""
        def step():
            print("stepping", flush=True)
            time.sleep(60)
        child, never = (ChildSpec(name, ["sleep", "1000"]) for name in ("child", "never"))
        sys.exit(Supervisor([child, Step("long", step), never]).run())
    """)
    running.wait_for("stepping")
    running.signal(signal.SIGINT)
    assert running.exit_code() == 0
    assert running.output.read_text() == "stepping\nchild stopped\n"


@pytest.mark.skipif(not LINUX, reason="only Linux ties a child's life to its parent's")
def test_children_die_with_a_supervisor_that_is_killed(
    process: Callable[[str], Process], tmp_path: Path
) -> None:
    running = process(STEADY % shlex.quote(str(tmp_path / "pid")))
    running.wait_for("all is up")
    pid = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    running.signal(signal.SIGKILL)
    wait_until(lambda: process_identity(pid) is None, what="the child is gone")


@pytest.mark.skipif(not LINUX, reason="only Linux can make a process the reaper of orphans")
def test_orphans_that_became_ours_are_reaped(
    process: Callable[[str], Process], tmp_path: Path
) -> None:
    running = process("""
        import ctypes
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: as process 1 of a container is
        orphan = folder / "orphan"
        script = f"(sleep 0.1 & echo $! > {orphan}); exec sleep 1000"
        sys.exit(Supervisor([ChildSpec("child", ["/bin/sh", "-c", script])]).run())
    """)
    orphan = tmp_path / "orphan"
    pid = int(wait_until(lambda: orphan.exists() and orphan.read_text()))
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the orphan is buried")
    running.signal(signal.SIGTERM)
    assert running.exit_code() == 0


class TestLeftovers:
    def test_a_child_that_outlived_its_supervisor_is_stopped(self, tmp_path: Path) -> None:
        ended = tmp_path / "ended"
        spec = noting_its_end("web", ended)
        child = start_child(spec)
        assert spec.ready is not None
        wait_until(spec.ready)
        record_child(tmp_path, spec, child.pid)
        assert self.stopped_while_reaping(tmp_path, child) == ["web"]
        assert ended.read_text() == "web\n"
        assert list(tmp_path.glob("*.json")) == []

    def test_one_that_does_not_stop_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(child_process, "LEFTOVER_STOP_S", 0.1)
        spec = forever("web", stop_signal=signal.SIGWINCH)
        child = start_child(spec)
        record_child(tmp_path, spec, child.pid)
        assert self.stopped_while_reaping(tmp_path, child) == ["web"]
        assert child.returncode == -signal.SIGKILL

    def test_a_stranger_with_the_same_number_is_left_alone(self, tmp_path: Path) -> None:
        spec = forever("web")
        stranger = start_child(spec)
        record_child(tmp_path, spec, stranger.pid)
        note = tmp_path / "web.json"
        identity = process_identity(stranger.pid)
        assert identity is not None
        note.write_text(note.read_text().replace(identity, f"{identity}0"))
        try:
            assert stop_leftovers(tmp_path) == []
            assert stranger.poll() is None
            assert not note.exists()
        finally:
            stranger.kill()
            stranger.wait()

    def test_a_note_torn_by_the_crash_is_dropped(self, tmp_path: Path) -> None:
        (tmp_path / "web.json").write_text('{"pid": 1')
        assert stop_leftovers(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    def stopped_while_reaping(self, run_dir: Path, child: subprocess.Popen[bytes]) -> list[str]:
        """An unreaped child counts as gone, so it is reaped only at the end, by the test."""
        names = stop_leftovers(run_dir)
        child.wait(1)
        return names
