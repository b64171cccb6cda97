"""The spool on a real disk: durable, ordered, bounded, shared by processes, readable by nobody."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from timer_service.clock import utc_now
from timer_service.doctor import look_at_spool
from timer_service.ids import ConnectionId
from timer_service.messages import (
    ChangeKind,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    InboundMessage,
    Media,
    MessageChange,
    OwnMessage,
)
from timer_service.records import spool_file
from timer_service.settings import Settings
from timer_service.spool import Spool, SpoolFull, connection_of, received_at
from timer_service.spooled_events import Unreadable, decode, encode

DANA = ContactIds(phone="972500000001", lid="111111111111111")
CONNECTION = ConnectionId(uuid4())
ALL_KINDS: list[Event] = [
    InboundMessage(
        provider_message_id="a",
        contact=DANA,
        text="שלום",
        sent_at=datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC),
        media=Media(url="https://gateway.example/1"),
        extra={"items": [{"price": 1.5}]},
    ),
    OwnMessage(provider_message_id="b", contact=DANA),
    DeliveryStatus(provider_message_id="b", status=Delivery.READ, error_code=131_026),
    MessageChange(kind=ChangeKind.EDIT, direction=Direction.IN, target="a", text="x"),
    IdentityLink(contact=DANA),
    ConnectionUpdate(state=ConnectionState.CONNECTED, own_number="972500000009"),
]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def heard(text: str) -> list[Event]:
    return [InboundMessage(provider_message_id=text, contact=DANA, text=text)]


def test_every_kind_of_event_comes_back_as_it_was() -> None:
    assert decode(encode(ALL_KINDS)) == ALL_KINDS


@pytest.mark.parametrize(
    "text", ["", "[]", '{"form": 2, "events": []}', '{"form": 1, "events": [["new", {}]]}']
)
def test_what_another_program_wrote_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(text)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_what_was_appended_is_taken_in_its_order_and_deleted_when_it_is_done(spool: Spool) -> None:
    assert not spool.is_waiting
    at = utc_now()
    for number in range(5):
        spool.append(CONNECTION, heard(f"m{number}"), at + timedelta(seconds=number))
    assert spool.is_waiting
    assert spool.oldest_at == at
    rows = spool.take(3)
    assert [decode(row.events) for row in rows] == [heard(f"m{number}") for number in range(3)]
    assert {connection_of(row) for row in rows} == {CONNECTION}
    assert received_at(rows[2]) == at + timedelta(seconds=2)
    spool.settle(done=[row.seq for row in rows])
    assert spool.oldest_at == at + timedelta(seconds=3)
    rows = spool.take(3)
    spool.settle(done=[rows[0].seq], parked={rows[1].seq: "Broken"})
    state = spool.state()
    assert (state.waiting, state.parked, state.oldest_at) == (0, 1, None)


def test_many_threads_of_many_processes_lose_nothing_and_a_thread_keeps_its_order(
    tmp_path: Path,
) -> None:
    spools = [Spool(tmp_path) for _ in range(2)]

    def append(number: int) -> None:
        for step in range(10):
            spools[number % 2].append(CONNECTION, heard(f"{number}-{step}"), utc_now())

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(append, range(12)))
    rows = spools[0].take(1_000)
    names = [decode(row.events)[0].provider_message_id.split("-") for row in rows]  # type: ignore[union-attr]
    assert len(rows) == 120
    for number in range(12):
        assert [int(step) for one, step in names if int(one) == number] == list(range(10))
    for spool in spools:
        spool.close()


NOAM = ContactIds(phone="972500000002", lid="222222222222222")
OF_DANA = [OwnMessage(provider_message_id="to dana", contact=DANA)]
OF_NOAM = [OwnMessage(provider_message_id="to noam", contact=NOAM)]


def precedes(spool: Spool) -> list[bool]:
    """Tell for two customers whether what they send must queue."""
    return [spool.must_precede(CONNECTION, one) for one in (OF_DANA, OF_NOAM)]


def test_what_waits_precedes_its_own_customer_only_and_what_is_set_aside_precedes_nobody(
    spool: Spool,
) -> None:
    assert precedes(spool) == [False, False]
    spool.append(CONNECTION, OF_DANA, utc_now())
    spool.append(CONNECTION, [*heard("x"), *OF_NOAM], utc_now())
    assert precedes(spool) == [True, True]
    assert not spool.must_precede(ConnectionId(uuid4()), OF_DANA)
    first, second = spool.take(2)
    spool.settle(done=[first.seq])
    assert precedes(spool) == [True, True]
    spool.settle(parked={second.seq: "Broken"})
    assert precedes(spool) == [False, False]
    assert spool.retry(second.seq) == 1
    assert precedes(spool) == [True, True]
    spool.settle(done=[second.seq])
    assert precedes(spool) == [False, False]
    assert kept_keys(spool) == 0


def kept_keys(spool: Spool) -> int:
    with spool._reading() as db:
        return int(db.execute("SELECT count(*) FROM spooled_keys").fetchone()[0])


_OF_THE_VERSION_BEFORE = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    CREATE TABLE spooled (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      received_us INTEGER NOT NULL,
      connection_id TEXT NOT NULL,
      events TEXT NOT NULL,
      tries INTEGER NOT NULL DEFAULT 0,
      parked INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX ix_spooled_waiting ON spooled (received_us) WHERE parked = 0;
"""
_INSERT_AS_BEFORE = "INSERT INTO spooled (received_us, connection_id, events) VALUES (1, ?, ?)"


def test_everybody_queues_behind_what_the_version_before_spooled(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as before:
        before.executescript(_OF_THE_VERSION_BEFORE)
        row = (str(CONNECTION), encode(OF_DANA))
        before.execute(_INSERT_AS_BEFORE, row)
        spool = Spool(tmp_path)
        assert precedes(spool) == [True, True]
        assert decode(spool.take(1)[0].events) == OF_DANA
        spool.settle(done=[1])
        assert precedes(spool) == [False, False]
        before.execute(_INSERT_AS_BEFORE, row)  # side by side
        assert precedes(spool) == [True, True]
        spool.settle(parked={2: "Broken"})
        assert precedes(spool) == [False, False]
        spool.append(CONNECTION, OF_DANA, utc_now())
        assert precedes(spool) == [True, False]
        before.execute("DELETE FROM spooled")
        assert kept_keys(spool) == 0
        spool.close()


def test_a_row_without_its_keys_is_not_kept(spool: Spool) -> None:
    """A power cut leaves both or none, for they are one transaction."""
    no_key: Any = object()
    row = spool_file.NewRow(1, str(CONNECTION), encode(OF_DANA), [1, no_key])
    with pytest.raises(SpoolFull):
        spool._write(lambda db: spool_file.add(db, [row]))
    assert not spool.is_waiting
    assert kept_keys(spool) == 0


def test_beyond_its_bound_it_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=200_000)
    spool.append(CONNECTION, heard("x" * 40_000), utc_now())
    with pytest.raises(SpoolFull):
        spool.append(CONNECTION, heard("x" * 60_000), utc_now())
    spool.append(CONNECTION, heard("small"), utc_now())
    spool.settle(done=[row.seq for row in spool.take(10)])
    spool.append(CONNECTION, heard("x" * 40_000), utc_now())
    spool.close()


def test_it_leaves_the_disk_room_for_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, min_free_bytes=2**60)
    with pytest.raises(SpoolFull):
        spool.append(CONNECTION, heard("x"), utc_now())
    spool.close()


def test_a_folder_that_cannot_be_used_is_said_and_breaks_nothing_else(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(SpoolFull, match="cannot be used"):
        Spool(tmp_path / "file").append(CONNECTION, heard("x"), utc_now())


def test_nobody_else_may_read_it_and_nothing_is_left_of_what_was_deleted(
    spool: Spool, tmp_path: Path
) -> None:
    secret = "their very own words"
    spool.append(CONNECTION, heard(secret), utc_now())
    folder = tmp_path / "spool"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert any(secret.encode() in path.read_bytes() for path in folder.iterdir())
    spool.settle(done=[row.seq for row in spool.take(10)])
    spool.shrink()
    assert not any(secret.encode() in path.read_bytes() for path in folder.iterdir())


def test_every_commit_is_on_the_disk_when_it_returns(spool: Spool) -> None:
    """No kill shows it, a power cut would: then what SQLite is told must do."""
    spool.append(CONNECTION, heard("x"), utc_now())
    assert spool._writer is not None
    found = [spool._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in _DURABLE]
    assert found == list(_DURABLE.values())


_DURABLE = {"synchronous": 2, "journal_mode": "wal"}


def test_the_doctor_tells_what_waits_and_that_something_was_set_aside(
    spool: Spool, tmp_path: Path
) -> None:
    settings = Settings(spool_dir=tmp_path / "spool")
    for text in ("a", "b"):
        spool.append(CONNECTION, heard(text), utc_now())
    assert all(one.is_well for one in look_at_spool(settings))
    spool.settle(parked={1: "Broken"})
    waiting, parked = look_at_spool(settings)
    assert "1 part(s) wait" in waiting.text
    assert (parked.is_well, parked.text[:1]) == (False, "1")
    assert "503" in look_at_spool(Settings())[0].text


_APPEND_FOR_EVER = """
import sys
from pathlib import Path
from tests.integration.test_spool import CONNECTION, Spool, heard, utc_now
spool = Spool(Path(sys.argv[1]))
for number in range(100_000):
    spool.append(CONNECTION, heard(f"m{number}"), utc_now())
    print(number, flush=True)
"""


def test_what_was_acknowledged_before_a_kill_is_there_afterwards(
    spool: Spool, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _APPEND_FOR_EVER, str(tmp_path / "spool")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    for _ in range(50):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split()
    process.stdout.close()
    process.wait()
    acknowledged = int(rest[-1]) + 1 if rest else 50
    waiting = spool.state().waiting
    assert acknowledged <= waiting <= acknowledged + 1


def test_another_process_that_closes_the_file_takes_nothing_from_this_one(
    spool: Spool, tmp_path: Path
) -> None:
    spool.append(CONNECTION, ALL_KINDS[:1], utc_now())
    assert spool.state().waiting == 1  # by a second connection to the file
    (file,) = tmp_path.rglob("*.sqlite3")
    log = file.with_name(f"{file.name}-wal")
    before = log.stat().st_ino
    look = f"import sqlite3; db = sqlite3.connect({str(file)!r}); db.execute('BEGIN IMMEDIATE'); "
    subprocess.run([sys.executable, "-c", f"{look} db.rollback(); db.close()"], check=True)
    assert log.stat().st_ino == before
    spool.append(CONNECTION, ALL_KINDS[:1], utc_now())
    assert spool.state().waiting == 2
