"""A touch in Redis alone, beside plain ``SET key value PX`` through the same client.

`touch` runs it. In flight are threads of one process that share the client, as in the web process.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from threading import Thread
from urllib.parse import urlsplit
from uuid import uuid4

from redis import BlockingConnectionPool, Redis

from timer_service import keys
from timer_service.clock import monotonic_s
from timer_service.ids import BusinessId, SessionId, new_id
from timer_service.live_chats import Arm, ArmOutcome, LiveChats
from timer_service.redis_clients import _options

REMAINING_MS = 900_000
SESSIONS = 10_000

Step = Callable[[], int]
"""Does some touches, returns how many."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Medians of several rounds, in touches a second; ``share`` is that of ours in plain."""

    plain_per_s: float
    armed_per_s: float
    share: float


def compare(url: str, *, depth: int, threads: int, seconds: float, rounds: int) -> Compared:
    """Measure ``depth`` touches a round trip, so many at one time, in turn with plain SETs."""
    plain: list[float] = []
    armed: list[float] = []
    with _client(url) as client:
        sides = [make(client, depth, threads) for make in (_plain_steps, _arm_steps)]
        for _ in range(rounds):
            for steps, rates in zip(sides, (plain, armed), strict=True):
                rates.append(rate_of(steps, seconds))
        client.flushdb()
    share = median(ours / floor for ours, floor in zip(armed, plain, strict=True))
    return Compared(median(plain), median(armed), share)


def _client(url: str) -> Redis:
    """Make the request path's client, but patient: a late answer is to be counted, not lost."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=50, timeout=10, **_options(timeout_s=10)
    )
    return Redis.from_pool(pool)


def _plain_steps(client: Redis, depth: int, threads: int) -> list[Step]:
    business = BusinessId(new_id())
    names = [keys.live_key(0, business, SessionId(uuid4())) for _ in range(SESSIONS)]
    version = count(1)

    def step_of(own: list[str]) -> Step:
        chosen = random.Random(1)

        def one() -> int:
            client.set(chosen.choice(own), next(version), px=REMAINING_MS)
            return 1

        def several() -> int:
            with client.pipeline(transaction=False) as pipe:
                for name in chosen.choices(own, k=depth):
                    pipe.set(name, next(version), px=REMAINING_MS)
                pipe.execute()
            return depth

        return one if depth == 1 else several

    return [step_of(names[thread::threads]) for thread in range(threads)]


def _arm_steps(client: Redis, depth: int, threads: int) -> list[Step]:
    live_chats = LiveChats(client, 1)
    business = BusinessId(new_id())
    sessions = [SessionId(uuid4()) for _ in range(SESSIONS)]
    version = count(1)
    for first in range(0, SESSIONS, 500):
        new = [Arm(business, one, 1, REMAINING_MS) for one in sessions[first : first + 500]]
        live_chats.arm(new)

    def step_of(own: list[SessionId]) -> Step:
        chosen = random.Random(1)

        def step() -> int:
            outcomes = live_chats.arm(
                [
                    Arm(business, one, next(version) + 1, REMAINING_MS)
                    for one in chosen.choices(own, k=depth)
                ]
            )
            if outcomes[-1] is not ArmOutcome.ARMED:
                raise RuntimeError(f"expected a touch to arm, found {outcomes[-1].name}")
            return depth

        return step

    return [step_of(sessions[thread::threads]) for thread in range(threads)]


def rate_of(steps: Sequence[Step], seconds: float) -> float:
    """Return how many touches a second so many threads get done.

    Raises:
        Exception: whatever went wrong in one of them.
    """
    done = [0] * len(steps)
    failed: list[Exception] = []
    began_s = monotonic_s()
    ends_s = began_s + seconds

    def work(place: int) -> None:
        step = steps[place]
        try:
            while monotonic_s() < ends_s:
                done[place] += step()
        except Exception as error:  # noqa: BLE001 - raised again by who waits for the thread
            failed.append(error)

    threads = [Thread(target=work, args=(place,)) for place in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(done) / (monotonic_s() - began_s)


def find_redis_benchmark() -> str | None:
    """Return the server's own tool where it is on PATH."""
    return shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")


def run_redis_benchmark(program: str, url: str, *, depth: int, clients: int) -> float:
    """Return how many plain SETs of keys like ours the server's own tool gets done a second.

    Raises:
        RuntimeError: it failed.
    """
    parts = urlsplit(url)
    key = "ts:{0}:live:0123456789012345678901:0123456789__rand_int__"
    argv = [
        program,
        *("-h", parts.hostname or "", "-p", str(parts.port), "-a", parts.password or ""),
        *("-c", str(clients), "-P", str(depth), "-n", str(20_000 * min(depth, 16))),
        *("-r", str(SESSIONS), "--csv", "SET", key, "12", "PX", str(REMAINING_MS)),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r'^"SET.*?","([\d.]+)"', done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{program} ended with {done.returncode}:\n{done.stderr}")
    return float(found[1])
