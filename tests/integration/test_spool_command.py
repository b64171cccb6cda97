"""`timer-service spool`: what was set aside is shown without its content, tried again, deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from timer_service import cli
from timer_service.errors import ConfigurationError, InvalidInput, NotFound
from timer_service.ids import ConnectionId
from timer_service.messages import ContactIds, InboundMessage
from timer_service.spool import Spool

CONNECTION = ConnectionId(uuid4())
RECEIVED_AT = datetime(2026, 11, 21, 10, 0, 0, 125_000, tzinfo=UTC)
PHONE = "972500000001"


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    """Give a spool of three parts, two of them set aside."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("TIMER_SPOOL_DIR", str(folder))
    spool = Spool(folder)
    for text in ("one secret", "two secrets", "three secrets"):
        message = InboundMessage(provider_message_id=text, contact=ContactIds(PHONE), text=text)
        spool.append(CONNECTION, [message], RECEIVED_AT)
    spool.take(3)
    spool.settle(untried=[3], parked={1: "DataError", 2: "DeadlyToReplay"})
    yield spool
    spool.close()


def run(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, ["spool", *words], input=typed)


def test_it_lists_ids_times_and_faults_and_nothing_of_the_messages(spool: Spool) -> None:
    said = run("list").output
    first, second = (line.split() for line in said.splitlines()[1:3])
    assert first == ["1", "2026-11-21T10:00:00.125Z", str(CONNECTION), "1", "DataError"]
    assert second[-1] == "DeadlyToReplay"
    assert said.splitlines()[-1] == "2 set aside, 1 waiting"
    assert "secret" not in said
    assert PHONE not in said


def test_one_or_all_are_brought_back_to_be_tried_as_if_new(spool: Spool) -> None:
    assert run("retry", "2").exit_code == 0
    assert [(row.seq, row.tries) for row in spool.take(9)] == [(2, 0), (3, 0)]
    assert run("retry", "--all").exit_code == 0
    assert spool.parked() == []
    assert spool.state().waiting == 3


def test_one_is_deleted_once_that_is_confirmed(spool: Spool) -> None:
    assert run("drop", "1", typed="n\n").exit_code == 1
    assert len(spool.parked()) == 2
    assert run("drop", "1", typed="y\n").exit_code == 0
    assert run("drop", "2", "--yes").exit_code == 0
    assert spool.parked() == []
    assert spool.state().waiting == 1


@pytest.mark.parametrize("words", [("drop", "3", "--yes"), ("retry", "3"), ("retry", "99")])
def test_what_was_not_set_aside_is_left_alone(spool: Spool, words: tuple[str, ...]) -> None:
    assert isinstance(run(*words).exception, NotFound)
    assert spool.state().waiting == 1


def test_retry_wants_one_or_all(spool: Spool) -> None:
    assert isinstance(run("retry").exception, InvalidInput)
    assert isinstance(run("retry", "1", "--all").exception, InvalidInput)
    assert len(spool.parked()) == 2


def test_a_folder_without_a_spool_gets_none(tmp_path: Path) -> None:
    result = run("list", "--folder", str(tmp_path / "nowhere"))
    assert isinstance(result.exception, ConfigurationError)
    assert not (tmp_path / "nowhere").exists()


def test_a_spool_of_an_older_version_learns_to_note_faults(spool: Spool, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "spool" / "spool.sqlite3") as db:
        db.execute("ALTER TABLE spooled DROP COLUMN fault")
    db.close()
    again = Spool(tmp_path / "spool")
    assert [part.fault for part in again.parked()] == [None, None]
    again.close()
    assert "unknown" in run("list").output
