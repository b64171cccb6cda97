"""A business whose gateway is slow holds some of the turns to fetch, never all of them."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from uuid import uuid4

import pytest

from tests.support.waiting import wait_until
from timer_service import media_library
from timer_service.ids import BusinessId
from timer_service.media_library import AT_ONCE, AT_ONCE_OF_ONE, _Turns
from timer_service.media_trouble import MediaTrouble, Reason


def test_one_business_gets_some_and_another_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_library, "TOTAL_TIMEOUT_S", 0.05)
    turns = _Turns()
    slow, other = BusinessId(uuid4()), BusinessId(uuid4())
    with ExitStack() as stack:
        for _ in range(AT_ONCE_OF_ONE):
            stack.enter_context(turns.turn(slow))
        with pytest.raises(MediaTrouble) as caught, turns.turn(slow):
            pass
        assert caught.value.reason is Reason.NOT_YET
        with turns.turn(other):
            pass
    with turns.turn(slow):
        pass


def test_all_together_get_no_more_than_there_are() -> None:
    turns, over = _Turns(), threading.Event()
    at_it, most = 0, 0
    lock = threading.Lock()

    def fetch() -> None:
        nonlocal at_it, most
        with turns.turn(BusinessId(uuid4())):
            with lock:
                at_it += 1
                most = max(most, at_it)
            over.wait()
            with lock:
                at_it -= 1

    threads = [threading.Thread(target=fetch) for _ in range(AT_ONCE + 4)]
    for one in threads:
        one.start()
    wait_until(lambda: at_it == AT_ONCE, what="every turn is taken")
    over.set()
    for one in threads:
        one.join()
    assert most == AT_ONCE
    assert not turns._at_it
