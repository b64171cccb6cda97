"""How long the active-chats number takes with more and more live chats of one business.

And what a live chat costs in Redis: both are read while the same chats are armed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from uuid import UUID

from redis import Redis

from benchmarks.report import Report
from benchmarks.rig import Rig
from timer_service.active_chats import ActiveChatsReader
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.ids import BusinessId, SessionId, new_id
from timer_service.live_chats import Arm, LiveChats
from timer_service.redis_clients import request_client, worker_client

LIVE = (1_000, 10_000, 100_000, 1_000_000)
CALLS = 5_000
_PAGE = 500
_LIVE_FOR_MS = 3_600_000
_TOKEN = "bench"  # noqa: S105 - names a rebuild


def run_count(*, live: Sequence[int] = LIVE, calls: int = CALLS) -> Report:
    """Time the count at each number of live chats."""
    report = Report("count", {"live": list(live), "calls": calls})
    business = BusinessId(new_id())
    with ExitStack() as stack:
        rig = stack.enter_context(Rig())
        client = stack.enter_context(worker_client(rig.redis_url))
        asking = stack.enter_context(request_client(rig.redis_url))
        reader = ActiveChatsReader(
            Database.for_requests(rig.database_url), LiveChats(asking, shards=1)
        )
        for armed in _arm_up_to(client, business, live):
            if reader.count(business) != armed:
                raise RuntimeError(f"expected a count of {armed}, found {reader.count(business)}")
            before = _scripts_run(client)
            took_ms = [_timed_ms(reader, business) for _ in range(calls)]
            report.spread(f"{armed:,} live", took_ms)
            commands = (_scripts_run(client) - before) / calls
            report.figure(f"{armed:,} live: commands a count", commands, "commands")
    middles = [one.p50 for one in report.spreads.values()]
    report.at_most("p50 grows by", max(middles) / min(middles), 1.3, "times", rule=True)
    most = max(value for value, _ in report.figures.values())
    report.at_most("commands a count", most, 1, "commands", rule=True)
    return report


def run_memory(*, live: Sequence[int] = (100_000, 1_000_000)) -> Report:
    """Weigh live chats: what Redis uses more for them than empty, divided by their number."""
    report = Report("memory", {"live": list(live)})
    with Rig() as rig, worker_client(rig.redis_url) as client:
        empty = int(client.info("memory")["used_memory"])
        for armed in _arm_up_to(client, BusinessId(new_id()), live):
            used = int(client.info("memory")["used_memory"]) - empty
            report.figure(f"{armed:,} live", used / armed, "bytes each")
            report.at_most(f"{armed:,} live", used / armed, 350, "bytes each")
    return report


def _arm_up_to(client: Redis, business: UUID, live: Sequence[int]) -> Iterator[int]:
    """Arm through the product's own scripts; yield at each number."""
    live_chats = LiveChats(client, shards=1)
    live_chats.begin_rebuild(0, _TOKEN)
    live_chats.finish_rebuild(0, _TOKEN)
    armed = 0
    for wanted in live:
        while armed < wanted:
            page = min(_PAGE, wanted - armed)
            live_chats.arm(
                [
                    Arm(BusinessId(business), SessionId(new_id()), 1, _LIVE_FOR_MS + armed + one)
                    for one in range(page)
                ]
            )
            armed += page
        yield armed


def _timed_ms(reader: ActiveChatsReader, business: BusinessId) -> float:
    began_s = monotonic_s()
    reader.count(business)
    return (monotonic_s() - began_s) * 1000


def _scripts_run(client: Redis) -> int:
    return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
