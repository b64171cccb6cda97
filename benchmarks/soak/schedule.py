"""What happens when in a soak: who writes, and what breaks. Pure; the same seed says the same.

Instants are seconds since the start of the traffic. A schedule knows nothing of how a message is
delivered or a fault is done; `driver` and `faults` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

WEBS = ("web-1", "web-2")
LISTENERS = ("listen-1", "listen-2")
WORKERS = ("work-1", "work-2")
CALLERS = ("call-1",)
"""Workers that tell callbacks."""
PROCESSES = (*WEBS, *LISTENERS, *WORKERS, *CALLERS)
BEYOND = ("web-2", "listen-2", "work-2")
"""On the other machine, so to say: a proxy stands between them and each server."""
REDIS = "redis"
POSTGRES = "postgres"
REDIS_WAY = "way to redis"
POSTGRES_WAY = "way to postgres"
WAYS = (REDIS_WAY, POSTGRES_WAY)

LATE_FROM_S = 65.0
"""A message sent longer ago than a minute counts when it was sent; a body names whole seconds."""
LATE_TO_S = 240.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to break something: ``lengths_s`` is how long it lasts, in a long run."""

    name: str
    targets: tuple[str, ...]
    lengths_s: tuple[float, float] = (0.0, 0.0)


KINDS = (
    Kind("kill", PROCESSES),
    Kind("kill", WEBS + LISTENERS),
    Kind("stop", PROCESSES),
    Kind("kill_leader", WEBS),
    Kind("kill_child", WEBS),
    Kind("kill_child", (POSTGRES,)),
    Kind("hang", PROCESSES, (0.5, 12.0)),
    Kind("hang", (REDIS,), (0.2, 8.0)),
    Kind("hang", (POSTGRES,), (0.2, 8.0)),
    Kind("down", (REDIS,), (0.1, 8.0)),
    Kind("down", (POSTGRES,), (0.1, 6.0)),
    Kind("wipe", (REDIS,), (0.1, 4.0)),
    Kind("flush", (REDIS,)),
    Kind("pause", (REDIS,), (0.2, 4.0)),
    Kind("cut", (REDIS,)),
    Kind("cut", (POSTGRES,)),
    Kind("deafen", (REDIS,), (0.5, 5.0)),
    Kind("meddle", (REDIS,)),
    Kind("lock", (POSTGRES,), (0.2, 5.0)),
    Kind("read_only", (POSTGRES,), (0.2, 4.0)),
    Kind("partition", (REDIS_WAY,), (0.3, 10.0)),
    Kind("partition", (POSTGRES_WAY,), (0.3, 10.0)),
    Kind("partition", WAYS, (0.3, 10.0)),
    Kind("lose_answers", WAYS, (0.3, 5.0)),
    Kind("reset", WAYS, (0.1, 4.0)),
    Kind("slow", WAYS, (0.5, 8.0)),
    Kind("lose_commit", (POSTGRES_WAY,), (0.5, 4.0)),
    Kind("lose_record", (POSTGRES_WAY,), (0.5, 4.0)),
    Kind("lose_script", (REDIS_WAY,), (0.5, 4.0)),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a soak. The schedule follows from it and nothing else.

    ``calm_s``: how long nothing breaks at the end, while customers write on. ``longest_fault_s``
    bounds the lengths.
    """

    seed: int
    seconds: float
    faults: int
    sessions_per_s: float = 28.0
    customers: int = 2_000
    shops: int = 4
    gap_s: int = 3
    calm_s: float = 15.0
    longest_fault_s: float = 12.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message and how its gateway brings it.

    ``number`` is unique and stands in its text. ``line`` 0 is the shop's number at Meta, 1 the one
    at Baileys. ``late_s``: how long before it is brought it was sent. ``twin``: both web processes
    get it at once. ``again_after_s``: how long after it was acknowledged it is brought once more.
    """

    number: int
    at_s: float
    shop: int
    line: int
    customer: int
    is_customers: bool
    web: int
    late_s: float = 0.0
    twin: bool = False
    again_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks at ``at_s`` and is put right ``length_s`` later."""

    at_s: float
    kind: str
    target: str
    length_s: float

    def __str__(self) -> str:
        """Say it for people."""
        lasting = f" for {self.length_s:.2f} s" if self.length_s else ""
        return f"{self.at_s:8.2f} s  {self.kind} {self.target}{lasting}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that happens, each list by time."""

    plan: Plan
    messages: tuple[Message, ...]
    faults: tuple[Fault, ...]


def make_schedule(plan: Plan) -> Schedule:
    """Draw a schedule."""
    rng = Random(plan.seed)
    faults = tuple(sorted(_faults(plan, Random(rng.random())), key=lambda one: one.at_s))
    drafts = sorted(_conversations(plan, Random(rng.random())), key=lambda one: one.at_s)
    messages = tuple(replace(one, number=nth) for nth, one in enumerate(drafts, 1))
    return Schedule(plan, messages, faults)


def _conversations(plan: Plan, rng: Random) -> Iterator[Message]:
    """Yield every customer's messages: talk, silence, talk.

    One silence in six ends within some ms of the idle gap, where a message races the close.
    """
    cycle_s = plan.customers / plan.sessions_per_s
    for customer in range(plan.customers):
        shop = customer % plan.shops
        at_s = rng.uniform(0, min(cycle_s, plan.seconds))
        while at_s < plan.seconds:
            line = rng.randrange(2)
            last_s = at_s
            opening = Message(0, at_s, shop, line, customer, is_customers=True, web=0)
            for one in _talk(plan, rng, opening):
                last_s = one.at_s
                yield one
            if rng.random() < 1 / 6:
                at_s = last_s + plan.gap_s + rng.uniform(-0.03, 0.05)
            else:
                rest_s = max(0.5, cycle_s - (last_s - at_s) - plan.gap_s)
                at_s = last_s + plan.gap_s + rng.expovariate(1 / rest_s)


def _talk(plan: Plan, rng: Random, opening: Message) -> Iterator[Message]:
    """Yield a conversation: one message in 200 comes late and alone, the others are one to six."""
    is_late = rng.random() < 0.005
    turns = 1
    while not is_late and turns < 6 and rng.random() < 0.5:
        turns += 1
    at_s = opening.at_s
    for turn in range(turns):
        if at_s >= plan.seconds:
            return
        yield replace(
            opening,
            at_s=at_s,
            is_customers=rng.random() > (0.25 if turn else 0.04) or is_late,
            web=rng.randrange(len(WEBS)),
            late_s=rng.uniform(LATE_FROM_S, LATE_TO_S) if is_late else 0.0,
            twin=rng.random() < 0.03,
            again_after_s=rng.uniform(0.05, 3 * plan.gap_s) if rng.random() < 0.03 else None,
        )
        at_s += rng.uniform(0.02, 0.8 * plan.gap_s)


def _faults(plan: Plan, rng: Random) -> Iterator[Fault]:
    """Yield faults spread evenly, every kind as often as any other."""
    kinds: list[Kind] = []
    span_s = (plan.seconds - plan.calm_s) / max(1, plan.faults)
    busy_until_s: dict[str, float] = {}
    for nth in range(plan.faults):
        if not kinds:
            kinds = list(KINDS)
            rng.shuffle(kinds)
        kind = kinds.pop()
        target = rng.choice(kind.targets)
        low_s, high_s = kind.lengths_s
        length_s = rng.uniform(low_s, high_s) if high_s else 0.0
        at_s = (nth + rng.uniform(0.1, 0.9)) * span_s
        # One after the other for each target: what is down cannot be flushed.
        at_s = max(at_s, busy_until_s.get(target, 0.0))
        length_s = min(length_s, plan.longest_fault_s, plan.seconds - plan.calm_s - at_s)
        if length_s < 0:
            at_s, length_s = at_s + length_s, 0.0
        busy_until_s[target] = at_s + length_s + 0.5
        yield Fault(round(at_s, 3), kind.name, target, round(length_s, 3))
