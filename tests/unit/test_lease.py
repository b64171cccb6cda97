"""A lease lives as long as its job, and no longer."""

from __future__ import annotations

import threading

import pytest

from tests.support.waiting import wait_until
from timer_service import lease
from timer_service.errors import DatabaseUnavailable
from timer_service.lease import LEASE_S, RENEW_EVERY_S, give_back_leases, kept_alive

LEASE_THREAD = "lease"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.005)


def unwanted() -> None:
    pytest.fail("nobody was told to stop")


def names() -> set[str]:
    return {one.name for one in threading.enumerate()}


def test_a_process_that_is_told_to_stop_gives_its_lease_back_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "_stopping", threading.Event())
    given_back: list[int] = []
    with kept_alive(lambda: None, lambda: given_back.append(1), at_most_s=60):
        give_back_leases()
        wait_until(lambda: given_back, what="it is given back")
        wait_until(lambda: LEASE_THREAD not in names(), what="that was all")
    assert given_back == [1]


def test_it_is_renewed_until_the_job_ends() -> None:
    beats: list[int] = []
    with kept_alive(lambda: beats.append(1), unwanted, at_most_s=60):
        wait_until(lambda: len(beats) >= 3, what="it is renewed")
    counted = len(beats)
    assert LEASE_THREAD not in names()
    assert len(beats) == counted


@pytest.mark.parametrize("fault", [DatabaseUnavailable("away"), ZeroDivisionError()])
def test_a_beat_that_fails_does_not_end_the_others(fault: Exception) -> None:
    beats: list[int] = []

    def renew() -> None:
        beats.append(1)
        raise fault

    with kept_alive(renew, unwanted, at_most_s=60):
        wait_until(lambda: len(beats) >= 3, what="it goes on")


def test_a_job_that_hangs_loses_its_lease() -> None:
    beats: list[int] = []
    with kept_alive(lambda: beats.append(1), unwanted, at_most_s=0.05):
        wait_until(lambda: LEASE_THREAD not in names(), what="it stopped")


def test_three_beats_fit_into_a_lease() -> None:
    assert RENEW_EVERY_S * 3 < LEASE_S
