"""A business in every shard whose customers write, and a whole listener in threads."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

from tests.support.builders import World
from tests.support.waiting import wait_until
from timer_service import metrics
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId, ConnectionId
from timer_service.intake import Intake
from timer_service.keys import shard_of
from timer_service.messages import ContactIds, ProviderName
from timer_service.settings import Settings, load_settings
from timer_service.wiring import WebServices, build_listener, build_web

SWEEP_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True)
class Talk:
    """How a fault was lived through."""

    healed_s: float
    slowest_s: float
    """What the slowest answer took."""


class Crowd:
    """One business with one connection for each shard of a world."""

    def __init__(self, world: World, *, idle_gap_s: int) -> None:
        self._world = world
        self._closed_before = _closed()
        self.shops: dict[int, tuple[BusinessId, ConnectionId]] = {}
        while len(self.shops) < world.shards:
            business, _ = world.administration.add_business(
                {"name": "Shop", "idle_gap_s": idle_gap_s}
            )
            business_id = BusinessId(business.id)
            shard = shard_of(business_id, world.shards)
            if shard not in self.shops:
                connection = world.administration.add_connection(
                    business_id,
                    provider=ProviderName.META,
                    external_id=f"number-of-{business_id}",
                    secrets={"app_secret": "secret"},
                )
                self.shops[shard] = (business_id, ConnectionId(connection.id))

    def hear(self, intake: Intake, customer: int) -> float:
        """Let one customer write to every shop; return how long the slowest answer took."""
        slowest_s = 0.0
        for _, connection_id in self.shops.values():
            began_s = time.monotonic()
            message = self._world.heard(contact=ContactIds(phone=f"97250{customer:07}"))
            intake.record(connection_id, [message])
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        return slowest_s

    def talk_through(self, intake: Intake, fault: Callable[[], None]) -> Talk:
        """Let customers write for four seconds, and the fault strike after half of one.

        It is healed when Redis has once not known a shop's number, and then knows them all.
        """
        began_s = time.monotonic()
        struck_s = healed_s = None
        was_lost, slowest_s = False, 0.0
        for number in itertools.count():
            passed_s = time.monotonic() - began_s
            if struck_s is None and passed_s > 0.5:
                fault()
                struck_s = time.monotonic()
            if struck_s is not None and healed_s is None:
                knows = self._are_known()
                was_lost = was_lost or not knows
                if was_lost and knows:
                    healed_s = time.monotonic() - struck_s
            if passed_s > 4 and (healed_s is not None or passed_s > 30):
                break
            slowest_s = max(slowest_s, self.hear(intake, number % 10))
        assert healed_s is not None, "not healed within 30 s"
        return Talk(healed_s, slowest_s)

    def _are_known(self) -> bool:
        try:
            numbers = [self._world.live_chats.count(shop) for shop, _ in self.shops.values()]
        except RedisUnavailable:
            return False
        return None not in numbers

    def are_counted(self) -> bool:
        """Tell whether Redis itself knows every shop's number, and it is Postgres's."""
        try:
            by_redis = [self._world.live_chats.count(shop) for shop, _ in self.shops.values()]
        except RedisUnavailable:
            return False
        return by_redis == [self._open_in(shop) for shop, _ in self.shops.values()]

    def wait_until_closed(self, within_s: float = 30.0) -> list[float]:
        """Wait until every session is closed; return by how many ms each was late, sorted.

        Each must have closed once, by silence, and not before its deadline.
        """
        wait_until(lambda: not self.count_open(), within_s=within_s, what="all sessions closed")
        rows = self._world.read(
            "SELECT close_reason, extract(epoch FROM closed_at - deadline_at) * 1000 AS late_ms "
            "FROM sessions"
        )
        assert {row["close_reason"] for row in rows} == {"idle"}
        assert min(row["late_ms"] for row in rows) >= 0, "none early"
        wait_until(lambda: _closed() - self._closed_before >= len(rows), what="all counted")
        assert _closed() - self._closed_before == len(rows), "each closed once"
        return sorted(float(row["late_ms"]) for row in rows)

    def count_open(self) -> int:
        return int(
            self._world.read("SELECT count(*) AS n FROM sessions WHERE state = 'open'")[0]["n"]
        )

    def _open_in(self, business_id: BusinessId) -> int:
        return int(
            self._world.read(
                "SELECT count(*) AS n FROM sessions WHERE state = 'open' AND business_id = :id "
                "AND deadline_at > clock_timestamp()",
                id=business_id,
            )[0]["n"]
        )


def note(
    record_property: Callable[[str, object], None], late_ms: Sequence[float], slowest_s: float
) -> None:
    """Put figures into the report that `pytest -o junit_family=xunit1 --junitxml` writes."""
    record_property("sessions", len(late_ms))
    record_property("p50_late_ms", round(late_ms[len(late_ms) // 2]))
    record_property("p99_late_ms", round(late_ms[len(late_ms) * 99 // 100]))
    record_property("latest_ms", round(late_ms[-1]))
    record_property("slowest_answer_ms", round(slowest_s * 1000))


def settings_of(world: World, **given: object) -> Settings:
    """Return the settings a process of this world has."""
    return load_settings(
        database_url=world.database_url,
        redis_url=world.redis_url,
        queue_redis_url=world.queue_redis_url,
        shards=world.shards,
        encryption_keys=world.encryption_key,
        sweep_period_s=SWEEP_PERIOD_S,
        **given,
    )


@contextmanager
def listening(world: World) -> Iterator[None]:
    """Run a listener, its sweeper and its rebuilder, as the process does, in threads."""
    services = build_listener(settings_of(world))
    stop = Event()
    duties = (services.listener, services.sweeper, services.rebuilder)
    threads = [Thread(target=duty.run, args=(stop,)) for duty in duties]
    for thread in threads:
        thread.start()
    try:
        wait_until(
            lambda: not world.live_chats.untrusted(), within_s=20, what="every shard is trusted"
        )
        yield
    finally:
        stop.set()
        services.sweeper.wake()
        services.rebuilder.want()
        for thread in threads:
            thread.join()
        services.sweeper._database.close()


@contextmanager
def answering(world: World) -> Iterator[WebServices]:
    """Give what a web process has, with its short time-outs."""
    services = build_web(settings_of(world))
    yield services
    services.database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


def _closed() -> float:
    return metrics.SESSIONS_CLOSED.labels("idle")._value.get()
