"""The version before runs on beside the new one, under traffic, while the schema moves: H6.

It is in `previous_version.tar.xz`, as a shallow clone has no history to take it from. With each
release it is made anew from the release before:

    git archive TAG timer_service http migrations ':!http/timer_http/static' \
      ':!timer_service/demo/conversations.json' ':!http/timer_http/translations' \
      | xz -9e > tests/acceptance/previous_version.tar.xz
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import httpx2
import pytest
from cryptography.fernet import Fernet

from tests.acceptance.conftest import IDLE_GAP_S
from tests.support.callers import (
    Business,
    Caller,
    Line,
    Traffic,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import (
    ADMIN_KEY,
    START_WITHIN_S,
    SWEEP_PERIOD_S,
    Process,
    _end_hurriedly,
    is_ready,
)
from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from timer_service.embedded.server import HOST, choose_port
from timer_service.messages import ProviderName

PREVIOUS = Path(__file__).with_name("previous_version.tar.xz")
ONLY_NEW = "timer_sessions_erased_total"
"""A metric the version before does not have."""


class Version:
    """Web, listener and worker of one version, on servers that both share."""

    def __init__(self, name: str, env: Mapping[str, str], folder: Path, code: Path | None) -> None:
        self.base_url = f"http://{HOST}:{choose_port(None)}"
        metrics = folder / f"{name}-metrics"
        metrics.mkdir()
        self._env = {**env, "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        if code is not None:
            # Before whatever the environment leads to; granian puts the folder it stands in first.
            self._env["PYTHONPATH"] = os.pathsep.join([str(code), str(code / "http")])
        self._cwd = code
        port = self.base_url.rpartition(":")[2]
        words = {"web": ("web", "--port", port), "listen": ("listen",), "work": ("work",)}
        self.processes = {
            part: Process(
                f"{name}-{part}",
                *told,
                env=self._env,
                log=folder / f"{name}-{part}.log",
                cwd=code,
            )
            for part, told in words.items()
        }
        self.caller = Caller(self.base_url, ADMIN_KEY)

    def migrate(self) -> None:
        command = [sys.executable, "-m", "timer_service", "migrate"]
        subprocess.run(command, env=self._env, cwd=self._cwd, check=True)

    def start(self) -> None:
        for process in self.processes.values():
            process.start()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, within_s=2 * START_WITHIN_S, what=f"{self.base_url} is ready")

    def stop(self) -> None:
        """End each part as a deployment does, the web process first."""
        for process in self.processes.values():
            assert process.end() == 0, process.said

    def destroy(self) -> None:
        self.caller.close()
        _end_hurriedly(list(self.processes.values()))

    def _is_ready(self) -> bool:
        for process in self.processes.values():
            assert process.is_running, process.said
        return is_ready(self.base_url) and "listening" in self.processes["listen"].said


class Visitors:
    """Customers who each say one thing and go, so that sessions end all the while."""

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)
        self.accepted: list[str] = []
        self._stop = Event()
        self._thread = Thread(target=self._come)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _come(self) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            line = self.lines[number % len(self.lines)]
            webhook = line.webhook(customer(number), "is the blue one in stock?")
            # An answer that did not come in time says nothing: it may be stored or not.
            with suppress(httpx2.TransportError):
                if line.post(webhook) == 200:
                    self.accepted.append(webhook.message_id)

    def wait_for(self, more: int, what: str) -> None:
        """Wait until so many more were let in."""
        enough = len(self.accepted) + more
        wait_until(lambda: len(self.accepted) >= enough, within_s=90, what=what)


@pytest.fixture
def versions(
    postgres_server: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> Iterator[tuple[Version, Version]]:
    """Give the version before and this one, on a database without tables."""
    redis_server.make_new()
    url = postgres_server.make_empty_database()
    code = tmp_path / "previous"
    with tarfile.open(PREVIOUS) as archive:
        archive.extractall(code, filter="data")
    env = {
        **os.environ,
        "TIMER_DATABASE_URL": url,
        "TIMER_REDIS_URL": redis_server.url,
        "TIMER_ADMIN_KEY": ADMIN_KEY,
        "TIMER_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "TIMER_SWEEP_PERIOD_S": str(SWEEP_PERIOD_S),
    }
    both = Version("old", env, tmp_path, code), Version("new", env, tmp_path, None)
    yield both
    for version in both:
        version.destroy()
    postgres_server.drop_database(url)


def through(line: Line, version: Version) -> Line:
    """Have the same gateway deliver to another web process."""
    return replace(line, business=replace(line.business, caller=version.caller))


def names_stored(business: Business, sessions: list[dict[str, Any]]) -> list[str]:
    return [
        message["provider_message_id"]
        for session in sessions
        for message in business.messages(session["id"])
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_old_and_new_side_by_side_lose_nothing_while_the_schema_moves(
    versions: tuple[Version, Version],
) -> None:
    old, new = versions
    old.migrate()
    old.start()
    old.wait_until_ready()
    shop = old.caller.add_business("Shop", idle_gap_s=IDLE_GAP_S)
    line = shop.connect(ProviderName.META)
    assert ONLY_NEW not in old.caller.http.get("/metrics").text

    with Visitors(line) as visitors, Traffic(line, senders=2) as before:
        visitors.wait_for(30, "the old version works")
        new.start()  # it waits for its schema
        new.migrate()
        new.wait_until_ready()
        assert ONLY_NEW in new.caller.http.get("/metrics").text
        new_line = through(line, new)
        visitors.lines.append(new_line)
        with Traffic(new_line, senders=2) as after:
            visitors.wait_for(60, "both work side by side")
            visitors.lines.remove(line)
            old.stop()
            visitors.wait_for(30, "the new one works alone")

    shop = replace(shop, caller=new.caller)
    sessions = shop.wait_until_closed(within_s=60)
    stored = names_stored(shop, sessions)
    accepted = {*visitors.accepted, *before.accepted, *after.accepted}
    assert len(before.accepted) > 10
    assert len(after.accepted) > 10
    assert accepted <= set(stored)
    assert len(stored) == len(set(stored))
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=IDLE_GAP_S)
    assert shop.active_count == 0
    assert len(shop.wait_until_summarised(within_s=60)) == len(sessions)
