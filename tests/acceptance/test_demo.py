"""`timer-service demo` and `up --demo`, as a person runs them: real servers, real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.waiting import wait_until
from timer_service.embedded.server import choose_port

pytestmark = pytest.mark.timeout(240)

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("TIMER_", "OPENAI_", "COVERAGE_"))
}
EXPORT = """\
31/12/2025, 09:00 - Messages and calls are end-to-end encrypted.
31/12/2025, 09:00 - Dana Levi: Hi, can you repair a bicycle today?
31/12/2025, 09:02 - Workshop: Yes, bring it before 17:00, it costs 120 shekels
31/12/2025, 09:05 - Dana Levi: <Media omitted>
31/12/2025, 13:00 - Dana Levi: Is it ready? I could come at four
31/12/2025, 13:04 - Workshop: It is, see you at four
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "timer_service", *words]


def run(*words: str, within_s: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=within_s,
        check=False,
    )


def lines_with(output: str, words: str) -> list[str]:
    return [line for line in output.splitlines() if words in line]


def test_the_demo_tells_its_whole_story_unattended() -> None:
    done = run("demo", "--speed", "5")
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    assert len(lines_with(out, " closed    session")) == 6
    assert len(lines_with(out, " summary   ")) == 6
    assert len(lines_with(out, "the same one again: nothing changes")) == 1
    counts = [int(found) for found in re.findall(r"active chats: (\d+)", out)]
    assert max(counts) >= 4
    assert counts[-1] == 0
    (lateness,) = lines_with(out, "close lateness p50")
    assert lateness.endswith("early 0")
    for said in ("עוגת יום הולדת", "Zichron Yaakov", "es kopi susu"):
        assert said in out


@pytest.mark.slow
def test_an_exported_chat_is_played_with_the_sessions_it_had(tmp_path: Path) -> None:
    chat = tmp_path / "WhatsApp Chat with Dana.txt"
    chat.write_text(EXPORT, encoding="utf-8")
    done = run("demo", "--speed", "5", "--idle-gap", "2s", "--conversation", str(chat))
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.split()[-6:] for line in lines_with(done.stdout, "Dana Levi  meta")]
    rows = [row for row in table if row[-1] == "ms" and row[1].isdecimal()]
    assert [(row[1], row[2], row[3]) for row in rows] == [("1", "3", "idle"), ("2", "2", "idle")]
    assert len(lines_with(done.stdout, "goes quiet for 3h 55m")) == 1


def test_a_file_that_is_no_conversation_ends_the_demo_with_the_reason(tmp_path: Path) -> None:
    chat = tmp_path / "diary.txt"
    chat.write_text("dear diary", encoding="utf-8")
    done = run("demo", "--conversation", str(chat))
    assert done.returncode == 1
    assert "line 1: expected a WhatsApp chat export" in done.stdout + done.stderr
    assert "dear diary" not in done.stdout + done.stderr


class Shop:
    """The demo business of a running `up --demo`, through the API."""

    def __init__(self, base_url: str, admin_key: str) -> None:
        self._client = httpx2.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {admin_key}"},
            timeout=5,
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        response = self._client.get(path, params=query)
        assert response.status_code == 200, path
        return response.json()

    def post(self, path: str, body: Any) -> str:
        """Post for the business; return the id of what was made."""
        (business,) = self.businesses()
        response = self._client.post(path, json=body, params={"business_id": business["id"]})
        assert response.is_success, response.text
        return str(response.json()["id"])

    def businesses(self) -> list[Any]:
        items: list[Any] = self.get("/api/businesses")["items"]
        return items

    def send_by_each(self, connections: Sequence[Any]) -> list[str]:
        """Answer a customer of each gateway that has one; return the messages' ids."""
        ways: dict[str, Any] = {
            one["provider"]: {"connection_id": one["id"], "to": "972500001001"}
            for one in connections
            if one["provider"] in {"waha", "baileys"}  # these need no message of theirs first
        }
        ways |= {one["provider"]: {"session_id": one["id"]} for one in self.closed()}
        assert len(ways) >= 3
        return [self.post("/api/messages", {"text": "It is ready", **way}) for way in ways.values()]

    def status_of(self, message_id: str) -> str:
        (business,) = self.businesses()
        answer = self.get(f"/api/messages/{message_id}", business_id=business["id"])
        return str(answer["status"])

    def active_count(self) -> int:
        if not self.businesses():
            return 0
        (business,) = self.businesses()
        answer = self.get("/api/whatsapp/active-chats", business_id=business["id"])
        return int(answer["active_chats_count"])

    def closed(self) -> list[Any]:
        (business,) = self.businesses()
        page = self.get("/api/sessions", business_id=business["id"], state="closed", limit=100)
        return list(page["items"])


@contextmanager
def everything_up(words: Sequence[str], log: Path) -> Iterator[Shop]:
    port = choose_port(None)
    with log.open("wb") as out:
        process = subprocess.Popen(
            command("up", "--demo", "--port", str(port), *words),
            env=ENVIRONMENT | {"TIMER_ADMIN_KEY": "the-admin-key-of-this-test"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    shop = Shop(f"http://127.0.0.1:{port}", "the-admin-key-of-this-test")
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C stops everything" in log.read_text()

        wait_until(is_up, within_s=60, every_s=0.1, what="everything is up")
        yield shop
    finally:
        shop.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that root's Postgres, which runs as nobody, can pass through."""
    with tempfile.TemporaryDirectory(prefix="timer-up-demo-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.mark.slow
def test_up_with_demo_keeps_one_business_busy_across_a_restart(folder: Path) -> None:
    words = ("--data", str(folder / "data"), "--idle-gap", "3s")
    with everything_up(words, folder / "first.log") as shop:
        wait_until(lambda: shop.active_count() >= 3, within_s=30, what="three chats are active")
        wait_until(shop.closed, within_s=60, every_s=0.2, what="a customer went quiet")
        assert {one["close_reason"] for one in shop.closed()} == {"idle"}
        (business,) = shop.businesses()
    with everything_up(words, folder / "second.log") as shop:
        seen = len(shop.closed())
        wait_until(
            lambda: len(shop.closed()) > seen + 3, within_s=60, every_s=0.2, what="it talks on"
        )
        (again,) = shop.businesses()
        connections = shop.get("/api/connections", business_id=again["id"])["items"]
        sent = shop.send_by_each(connections)
        wait_until(
            lambda: {shop.status_of(one) for one in sent} == {"read"},
            within_s=30,
            every_s=0.2,
            what="what was sent is read",
        )
    assert again["id"] == business["id"]
    assert sorted(one["provider"] for one in connections) == ["baileys", "meta", "twilio", "waha"]
