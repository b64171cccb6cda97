"""The service in-process: a plain script of somebody else's, with its own callback and worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

import timer_service
from tests.support.builders import DANA, NOAM, World
from timer_service.errors import ConfigurationError, Conflict, InvalidInput, NotFound
from timer_service.ids import BusinessId
from timer_service.service import NewMessage

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
import json, sys
from uuid import UUID

import timer_service
from timer_service.service import NewMessage

business_id, connection_id = UUID(sys.argv[1]), UUID(sys.argv[2])
service = timer_service.connect()
service.on_closed("shop_hooks.note_closed")
recorded = service.record_messages(
    business_id,
    connection_id,
    [
        NewMessage(provider_message_id="1", customer_wa_id="+972 50-000-0001", direction="in",
                   text="are the blue ones in stock?", customer_name="Dana"),
        NewMessage(provider_message_id="2", customer_wa_id="972500000001", direction="out",
                   text="yes, size 38 is left"),
    ],
)
active = service.active_chats(business_id)
session = service.sessions(business_id)[0]
closed = service.complete(recorded[0].session_id)
print(json.dumps({
    "opened": [one.opened for one in recorded],
    "active": active.model_dump(mode="json"),
    "open": session.model_dump(mode="json"),
    "closed": closed.model_dump(mode="json"),
    "texts": [one.text for one in service.transcript(business_id, session.id)],
    "left": service.active_chats(business_id).active_chats_count,
}))
"""
_HOOKS = """
import json, os

def note_closed(session):
    with open(os.environ["NOTES"], "a") as file:
        file.write(json.dumps(session) + "\\n")
"""
_WORKER = """
import sys
from timer_service.job_queue import QUEUES, work
from timer_service.settings import load_settings
from timer_service.wiring import rq_client

for queue in QUEUES:
    work(rq_client(load_settings()), queue, burst=True)
"""


def test_a_script_records_counts_completes_and_is_called_back(world: World, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    (tmp_path / "worker.py").write_text(_WORKER)
    (tmp_path / "shop_hooks.py").write_text(_HOOKS)
    notes = tmp_path / "notes"
    environ = {
        **os.environ,
        "TIMER_DATABASE_URL": world.database_url,
        "TIMER_REDIS_URL": world.redis_url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "NOTES": str(notes),
    }

    def run(name: str, *arguments: str) -> str:
        command = [sys.executable, str(tmp_path / name), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = json.loads(
        run("script.py", str(world.business_id), str(world.connection_id)).splitlines()[-1]
    )
    assert told["opened"] == [True, False]
    assert told["active"]["active_chats_count"] == 1
    assert told["active"]["chats"][0]["customer_wa_id"] == DANA.phone
    assert (told["open"]["is_open"], told["open"]["message_count"]) == (True, 2)
    assert told["closed"]["close_reason"] == "completed"
    assert told["texts"] == ["are the blue ones in stock?", "yes, size 38 is left"]
    assert told["left"] == 0
    run("worker.py")
    assert [json.loads(line)["id"] for line in notes.read_text().splitlines()] == [
        told["closed"]["id"]
    ]
    assert world.sessions()[0].summary_created


def new(name: str = "1", **changes: Any) -> NewMessage:
    given = {"provider_message_id": name, "customer_wa_id": DANA.phone, "direction": "in"}
    return NewMessage(**(given | changes))


class TestConnecting:
    def test_connecting_opens_no_connection_and_needs_no_encryption_key(self) -> None:
        timer_service.connect(
            database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0"
        )

    @pytest.mark.parametrize("missing", ["database_url", "redis_url"])
    def test_what_is_missing_is_said_at_once(self, missing: str) -> None:
        given = {"database_url": "postgresql://h/db", "redis_url": "redis://h/0"}
        del given[missing]
        with pytest.raises(ConfigurationError, match=f"TIMER_{missing.upper()}"):
            timer_service.connect(**given)


class TestRecording:
    def test_a_local_number_is_read_by_the_businesss_country(self, world: World) -> None:
        world.set_rules(country="ID")
        message = new(customer_wa_id="0812-3456-7890")
        recorded = world.service.record_messages(world.business_id, world.connection_id, [message])
        assert world.session(recorded[0].session_id).customer_wa_id == "6281234567890"

    def test_nothing_to_record_is_nothing(self, world: World) -> None:
        assert world.service.record_messages(world.business_id, world.connection_id, []) == []

    def test_who_wrote_it_must_fit_which_way_it_went(self, world: World) -> None:
        for message in (
            new(author="agent"), new(direction="out", author="customer"),
        ):  # fmt: skip
            with pytest.raises(InvalidInput) as caught:
                world.service.record_messages(
                    world.business_id, world.connection_id, [new("0"), message]
                )
            assert caught.value.field == "messages.1.author"
        assert world.sessions() == []

    def test_an_outgoing_message_is_a_bots_unless_said_otherwise(self, world: World) -> None:
        world.service.record_messages(
            world.business_id,
            world.connection_id,
            [new(), new("2", direction="out"), new("3", direction="out", author="agent")],
        )
        told = world.service.transcript(world.business_id, world.sessions()[0].id)
        assert [one.author for one in told] == ["customer", "bot", "agent"]

    def test_what_postgres_does_not_take_is_cleaned(self, world: World) -> None:
        dirty = "a\x00b"
        recorded = world.service.record_messages(
            world.business_id, world.connection_id, [new(text=dirty, customer_name=dirty)]
        )
        session_id = recorded[0].session_id
        assert world.texts_of(session_id) == ["ab"]
        assert world.session(session_id).customer_name == "ab"

    def test_another_businesss_connection_is_not_found(self, world: World) -> None:
        other, _ = world.administration.add_business({"name": "Other"})
        with pytest.raises(NotFound):
            world.service.record_messages(BusinessId(other.id), world.connection_id, [new()])
        assert world.sessions() == []


class TestSessions:
    def test_context_and_order_details_are_merged(self, world: World) -> None:
        session, opened = world.service.open_session(
            world.business_id, world.connection_id, str(DANA.phone), {"a": 1, "b": {"c": 2}}
        )
        assert opened
        changed = world.service.change_session(
            world.business_id, session.id, context={"b": 3}, order_details={"sku": "x\x00\\u0000"}
        )
        assert changed.context == {"a": 1, "b": 3}
        assert changed.order_details == {"sku": "x\\u0000"}

    def test_what_is_no_json_is_refused(self, world: World) -> None:
        session_id = world.hear().session_id
        with pytest.raises(InvalidInput):
            world.service.change_session(world.business_id, session_id, context={"x": float("nan")})

    def test_only_a_closed_conversation_is_summarised(self, world: World) -> None:
        session_id = world.hear().session_id
        with pytest.raises(Conflict):
            world.service.summarize(world.business_id, session_id)
        world.service.complete(session_id)
        asked = world.service.summarize(world.business_id, session_id)
        assert asked.summary is not None
        assert asked.summary.status == "pending"
        assert world.queued()[-1] == f"summarize_{session_id}_2"

    def test_the_most_recently_active_session_of_a_number_is_found(self, world: World) -> None:
        other = world.add_connection("2000")
        world.hear()
        latest = world.record(world.heard(), connection_id=other)[0].session_id
        for written in (DANA.phone, f"+{DANA.phone}"):
            found = world.service.active_session_of(world.business_id, str(written))
            assert found is not None
            assert found.id == latest
        assert world.service.active_session_of(world.business_id, str(NOAM.phone)) is None

    def test_a_due_session_is_not_active(self, world: World) -> None:
        world.hear()
        world.let_pass(901)
        assert world.service.active_session_of(world.business_id, str(DANA.phone)) is None

    def test_nothing_of_another_business_is_seen(self, world: World) -> None:
        session = world.session(world.hear().session_id)
        other = BusinessId(world.administration.add_business({"name": "Other"})[0].id)
        service = world.service
        for ask in (
            lambda: service.session(other, session.id),
            lambda: service.transcript(other, session.id),
            lambda: service.complete(session.id, other),
            lambda: service.summarize(other, session.id),
            lambda: service.change_session(other, session.id, context={"x": 1}),
            lambda: service.contact(other, session.contact_id),
            lambda: service.session(world.business_id, uuid4()),
        ):
            with pytest.raises(NotFound):
                ask()
        assert service.sessions(other) == service.contacts(other) == []
        assert service.active_session_of(other, str(DANA.phone)) is None
        assert world.session(session.id) == session


def test_one_service_serves_many_threads(world: World) -> None:
    barrier = Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for i in range(10):
            name = f"{number}-{i}"
            message = new(name, customer_wa_id=f"97250{number:07}")
            recorded = world.service.record_messages(
                world.business_id, world.connection_id, [message]
            )
            world.service.active_chats(world.business_id)
            world.service.session(world.business_id, recorded[0].session_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert world.counted() == 8
    assert [one.message_count for one in world.sessions()] == [10] * 8
