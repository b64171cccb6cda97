"""Redis loses everything while many chats are live: how soon it is noticed and made good.

Intake goes on in this process meanwhile, and is asked all the time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event, Thread
from uuid import UUID

from redis import Redis

from benchmarks.lateness import start_listener
from benchmarks.report import Report
from benchmarks.rig import Rig, wait_until
from benchmarks.seeding import BUSINESSES, Due, seed, time_to_arm_s
from timer_service import connect, keys
from timer_service.clock import epoch_s, monotonic_s
from timer_service.ids import BusinessId
from timer_service.live_chats import LiveChats
from timer_service.messages import Direction
from timer_service.rebuild import PAGE
from timer_service.redis_clients import worker_client
from timer_service.service import NewMessage

_DUE_OVER_S = 3_600.0
_LOOK_EVERY_S = 0.25
_ASK_EVERY_S = 0.02


def run(*, live: int = 1_000_000, businesses: int = BUSINESSES) -> Report:
    """Flush a Redis that holds so many live chats."""
    report = Report("rebuild", {"live": live})
    with Rig() as rig, worker_client(rig.redis_url) as client:
        # far enough away that nothing falls due while this lasts
        first_due_at_s = epoch_s() + 2 * time_to_arm_s(live) + 60
        shops = seed(
            rig.database_url, [Due(live, first_due_at_s, _DUE_OVER_S)], businesses=businesses
        )
        began_s = monotonic_s()
        start_listener(rig, within_s=600)
        report.figure("first start: armed", live / (monotonic_s() - began_s), "/s")
        live_chats = LiveChats(client, 1)
        asked = _Asking(rig, shops[0])
        time.sleep(1)
        rig.begin_cpu()
        flushed_s = monotonic_s()
        client.flushall()
        wait_until(lambda: live_chats.epoch(0), "the loss is noticed", 60)
        noticed_s = monotonic_s() - flushed_s
        in_order = 1.0
        while not live_chats.is_trusted(0):
            in_order = min(in_order, _share_in_order(client, shops, live, first_due_at_s))
            time.sleep(_LOOK_EVERY_S)
        rebuilt_s = monotonic_s() - flushed_s
        report.cpu_s = rig.cpu_s()
        took_ms, failed = asked.stop()
        armed = sum(_armed(client, shop)[0] for shop in shops)
    report.spread("intake meanwhile", took_ms)
    report.figure("noticed after", noticed_s * 1000, "ms")
    report.figure("all armed after", rebuilt_s, "s")
    rate = report.figure("armed again", live / (rebuilt_s - noticed_s), "/s")
    report.at_most("noticed", noticed_s, 1, "s")
    report.at_least("armed again", rate, 20_000, "/s")
    report.at_least("nearest first: armed of those that should be", in_order, 0.99, "share")
    report.at_most("intake refused", failed, 0, "messages")
    report.at_most("not armed", max(0, live - armed), 0, "sessions", rule=True)
    return report


def _armed(client: Redis, shop: UUID) -> tuple[int, float]:
    """Return how many of a business are armed, and the latest deadline among them."""
    key = keys.active_key(0, BusinessId(shop))
    last = client.zrange(key, 0, 0, desc=True, withscores=True)
    return int(client.zcard(key)), float(last[0][1]) / 1000 if last else 0.0


def _share_in_order(
    client: Redis, shops: Sequence[UUID], live: int, first_due_at_s: float
) -> float:
    """Compare what is armed with how many are due before the latest of it; 1 is perfect order.

    The page at work does not count: its sessions are armed in whatever order.
    """
    found = [_armed(client, shop) for shop in shops[1:]]  # intake adds to the first one
    last_at_s = max((last for _, last in found), default=0.0)
    if last_at_s <= first_due_at_s:
        return 1.0
    expected = live * len(found) / len(shops) * (last_at_s - first_due_at_s) / _DUE_OVER_S
    return min(1.0, sum(count for count, _ in found) / max(expected - PAGE, 1.0))


class _Asking:
    """A thread that records messages through the in-process service, one after another."""

    def __init__(self, rig: Rig, shop: UUID) -> None:
        self._service = connect(database_url=rig.database_url, redis_url=rig.redis_url)
        self._shop = shop
        self._stop = Event()
        self._took_ms: list[float] = []
        self._failed = 0
        self._thread = Thread(target=self._run, name="asking")
        self._thread.start()

    def stop(self) -> tuple[list[float], int]:
        """Return how long each message took in ms, and how many were refused."""
        self._stop.set()
        self._thread.join()
        return self._took_ms, self._failed

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(_ASK_EVERY_S):
            number += 1
            message = NewMessage(
                provider_message_id=f"bench{number}",
                customer_wa_id=f"+62 812 5550 {number % 1000:04}",
                direction=Direction.IN,
                text="Are you open today?",
            )
            began_s = monotonic_s()
            try:
                self._service.record_messages(BusinessId(self._shop), self._shop, [message])
            except Exception:  # noqa: BLE001 - whatever it is, the message was refused
                self._failed += 1
            else:
                self._took_ms.append((monotonic_s() - began_s) * 1000)
