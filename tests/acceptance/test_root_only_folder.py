"""Root runs `up` in a folder nobody else may enter, where a Postgres of nobody's cannot live."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callers import Caller, assert_closed_by_silence, customer
from tests.support.deployment import Up
from timer_service.messages import ProviderName

pytestmark = [pytest.mark.privileged, pytest.mark.timeout(240)]


@pytest.fixture
def own_up() -> Iterator[Up]:
    folder = Path(tempfile.mkdtemp(prefix="timer-root-only-"))
    folder.chmod(0o700)
    deployment = Up(folder)
    yield deployment
    deployment.destroy()


def test_roots_own_folder_serves_and_outlives_a_restart(own_up: Up) -> None:
    own_up.start()
    caller = Caller(own_up.base_url, own_up.printed_admin_key)
    shop = caller.add_business("Shop", idle_gap_s=600)
    line = shop.connect(ProviderName.META)
    line.say(customer(1), "is the blue one in stock?")
    assert own_up.data.parent.stat().st_mode & 0o777 == 0o700

    assert own_up.stop() == 0
    own_up.start()

    assert own_up.printed_admin_key == caller.admin_key
    shop.send("PATCH", f"/api/businesses/{shop.id}", {"idle_gap_s": 1})
    line.say(customer(1), "and the red one?")
    (session,) = shop.wait_until_closed()
    assert session["message_count"] == 2
    assert_closed_by_silence(session, idle_gap_s=1)
    caller.close()
