"""A process that has everything ready and no connection: each scenario runs in a fork of it.

A program, started by `kill_points`: orders come as lines of JSON on the standard input, answers go
as lines of JSON to the standard output. A fork costs milliseconds where a fresh interpreter costs
most of a second.

    {"act": "merge", "args": {…}, "point": "cut:after:7"}  →  {"state": "ended", "told": […]}
    a fork that stopped itself                             →  {"state": "stopped"}
    others in between, then {"go_on": true}                →  {"state": "ended", "told": […]}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import structlog

from tests.support.external_calls import Fuse, Point, watching
from tests.support.kill_scenarios import ACTS
from tests.support.waiting import wait_until
from timer_service import send_job, summarize_job, wiring
from timer_service.closing import Closer
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable
from timer_service.intake import Intake
from timer_service.live_chats import LiveChats
from timer_service.service import TimerService
from timer_service.settings import load_settings
from timer_service.summarizers import openai_model
from timer_service.sweeper import Sweeper

BOUND_S = 20.0
"""How long a scenario may take."""


@dataclass(frozen=True, slots=True)
class Process:
    """What web, listener and worker have, each from the wiring that builds the real one."""

    database: Database
    live_chats: LiveChats
    intake: Intake
    closer: Closer
    sweeper: Sweeper
    service: TimerService


@dataclass(frozen=True, slots=True)
class Child:
    """A fork, and the pipe it tells what it does through."""

    pid: int
    told: int


def build() -> Process:
    """Build all, and let each pool learn once what kind of server it has."""
    settings = load_settings()
    web, jobs = wiring.build_web(settings), wiring.job_services()
    sweeper = wiring.build_listener(settings).sweeper
    summarize_job._worker()
    send_job._sender()
    openai_model._trusted()
    for database in (web.database, jobs.database, sweeper._database):
        wait_until(partial(_answers, database), within_s=60, what="Postgres answers in time")
        database.close()
    return Process(jobs.database, jobs.live_chats, web.intake, jobs.closer, sweeper, web.service)


def _answers(database: Database) -> bool:
    try:
        with database.transaction():
            return True
    except DatabaseUnavailable:  # a request's second is short where the machine is busy
        return False


def start(order: dict[str, Any], process: Process) -> Child:
    """Fork and run; the fork never returns from here."""
    told, tell_to = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        _be_the_child(order, process, tell_to)
    os.close(tell_to)
    return Child(pid, told)


def _be_the_child(order: dict[str, Any], process: Process, tell_to: int) -> NoReturn:
    def tell(**what: object) -> None:
        os.write(tell_to, json.dumps(what).encode() + b"\n")

    try:
        _report_errors(tell)
        point = Point.read(order["point"]) if order["point"] else None
        with watching(Fuse(point, lambda name: tell(call=name))):
            ACTS[order["act"]](process, order["args"])
        tell(returned=True)
    except BaseException as error:  # noqa: BLE001 - whatever it was is the answer
        tell(raised=type(error).__name__, says=str(error)[:300])
    finally:
        os._exit(0)


def _report_errors(tell: Callable[..., None]) -> None:
    """Tell what is logged as an error: a fault from outside is foreseen and never one."""

    def report(_logger: object, method: str, event: dict[str, Any]) -> str:
        if method == "error":
            cause = sys.exc_info()[1]
            tell(error=event["event"], says=f"{type(cause).__name__}: {cause}"[:300])
        raise structlog.DropEvent

    structlog.configure(processors=[report])


def wait(child: Child) -> dict[str, Any]:
    """Wait until a fork ends or stops; one that does neither in time is ended."""
    until_s = time.monotonic() + BOUND_S
    state = "ended"
    while True:
        pid, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            return {"state": "stopped"}
        if pid:
            break
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            state = "overran"
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            break
        signal.sigtimedwait({signal.SIGCHLD}, left_s)
    with os.fdopen(child.told) as lines:
        return {"state": state, "told": [json.loads(line) for line in lines]}


def main() -> None:
    """Carry out orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever is printed must not be taken for an answer
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    process = build()
    hung: Child | None = None
    answers.write(json.dumps({"state": "ready"}) + "\n")
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if order.get("go_on") and hung is not None:
                child, hung = hung, None
                os.kill(child.pid, signal.SIGCONT)
            else:
                child = start(order, process)
            answer = wait(child)
            if answer["state"] == "stopped":
                hung = child
            answers.write(json.dumps(answer) + "\n")
    finally:
        if hung is not None:
            os.kill(hung.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
