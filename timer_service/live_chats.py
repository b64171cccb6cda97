"""The Redis edge: which sessions are live, until when, and who may close one that is not.

Called by intake (arm, forget, count), the expiry listener and its pacer (claim, pace) and the sweep
(arm, rebuild, watermarks). It knows nothing of Postgres, never decides that a session is closed,
and holds no logic of its own: every change of state is one script in ``lua/``, each safe to repeat.

Every method raises RedisUnavailable when Redis is away, too slow or refuses; what was asked may
have been done all the same. Instants are ms since the epoch by Redis's clock and are compared with
no other clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar, cast

import structlog
from redis.exceptions import ResponseError

from timer_service import keys, lua_scripts
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId, SessionId, shorten
from timer_service.keys import Member, shorten_business
from timer_service.lua_scripts import Call, run_calls, try_calls
from timer_service.redis_clients import LiveRedis, raise_faults, run_commands
from timer_service.redis_cluster import Command

log = structlog.get_logger(__name__)


class Arm(NamedTuple):
    """A session to be live for ``remaining_ms`` (1 or more), by this version of its row.

    A fraction counts: the key ends in the millisecond that the deadline falls into, and its event
    comes with the next one.
    """

    business_id: BusinessId
    session_id: SessionId
    version: int
    remaining_ms: float


_Session = TypeVar("_Session", Arm, Member)
_CALL_MAX = 200
"""Sessions in one call of a script: about a millisecond of Redis's time."""


class ArmOutcome(IntEnum):
    """What ``arm.lua`` answered."""

    ARMED = 1
    REPAIRED = 2
    ANEW = 3
    STALE = 0
    FENCED = -1


class ClaimResult(IntEnum):
    """What ``claim.lua`` answered."""

    WON = 1
    ALIVE = 0
    LOST = -1
    RESTORED = -2


class CountResult(IntEnum):
    """The one code of ``count.lua``."""

    UNTRUSTED = -1


class FinishResult(IntEnum):
    """What ``finish_rebuild.lua`` answered."""

    FINISHED = 1
    SUPERSEDED = 0


class ClaimOutcome(NamedTuple):
    """How a claim went; a won one says when the session was due and how late the claim was."""

    result: ClaimResult
    deadline_ms: int | None = None
    late_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ActivePage:
    """How many sessions are active, and the newest of them with their deadlines in ms."""

    count: int
    chats: list[tuple[SessionId, int]]


class IndexPage(NamedTuple):
    """Sessions that an index holds. ``strangers``: how many entries named none and are removed."""

    members: list[Member]
    strangers: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What one pass of the pacer over one shard did."""

    trusted: bool
    now_us: int
    wake_at_ms: int | None
    touched: int
    taken_over: list[Member]
    lent_again: list[Member]

    @property
    def now_ms(self) -> int:
        """The instant of the pass by Redis's clock."""
        return self.now_us // 1000


class LiveChats:
    """What Redis holds of all businesses, spread over ``shards`` hash tags."""

    def __init__(self, client: LiveRedis, shards: int) -> None:
        self._client = client
        self.shards = shards

    def arm(
        self,
        arms: Sequence[Arm],
        forget: Sequence[Member] = (),
        token: str | None = None,
        *,
        at_ms: Mapping[int, float] | None = None,
    ) -> list[ArmOutcome]:
        """Forget and arm sessions in one round trip; answer for each that was to be armed.

        With the ``token`` of a rebuild, arms are refused (FENCED) once that rebuild is superseded.
        With ``at_ms`` what remains of each counts from that instant of its shard's clock, else
        from the moment it is armed.
        """
        forgets = self._split(forget)
        splits = self._split(arms)
        calls = [self._forget_call(shard, members) for shard, members, _ in forgets]
        clocks = at_ms or {}
        calls += [
            self._arm_call(shard, theirs, token or "", clocks.get(shard))
            for shard, theirs, _ in splits
        ]
        replies = run_calls(self._client, calls)[len(forgets) :]
        return [ArmOutcome(code) for code in _in_order(splits, replies, len(arms))]

    def forget(self, members: Sequence[Member]) -> int:
        """Remove every trace of sessions that are closed or gone; return how many had left one."""
        calls = [self._forget_call(shard, theirs) for shard, theirs, _ in self._split(members)]
        removed = run_calls(self._client, calls)
        return sum(1 for reply in removed for traces in reply if traces)

    def claim(self, members: Sequence[Member], lease_ms: int) -> list[ClaimOutcome]:
        """Claim expired sessions; who wins has ``lease_ms`` to settle each by arm or forget."""
        splits = self._split(members)
        calls = [self._claim_call(shard, theirs, lease_ms) for shard, theirs, _ in splits]
        replies = _in_order(splits, run_calls(self._client, calls), len(members))
        return [ClaimOutcome(ClaimResult(code), *rest) for code, *rest in replies]

    def count(self, business_id: BusinessId) -> int | None:
        """Count a business's active sessions; None where Redis cannot be trusted to know."""
        page = self.list_active(business_id, 0)
        return None if page is None else page.count

    def list_active(self, business_id: BusinessId, limit: int) -> ActivePage | None:
        """Count a business's active sessions and list those with the latest deadlines."""
        reply = run_calls(self._client, [self._count_call(business_id, limit)])[0]
        if reply[0] == CountResult.UNTRUSTED:
            return None
        pairs = zip(reply[1::2], reply[2::2], strict=True)
        known = ((keys.parse_session(str(short)), due) for short, due in pairs)
        return ActivePage(reply[0], [(one, due) for one, due in known if one is not None])

    def count_all(self) -> int | None:
        """Count the active sessions of all businesses; None where a shard cannot be trusted."""
        if self.untrusted():
            return None
        agendas = self._ask(
            (shard, ("ZRANGE", keys.agenda_key(shard), 0, -1)) for shard in range(self.shards)
        )
        businesses = [keys.parse_business(str(short)) for agenda in agendas for short in agenda]
        calls = [self._count_call(one, 0) for one in businesses if one is not None]
        replies = run_calls(self._client, calls)
        if any(reply[0] == CountResult.UNTRUSTED for reply in replies):
            return None
        return sum(int(reply[0]) for reply in replies)

    def pace(
        self, shards: Sequence[int], *, grace_ms: int, lease_ms: int, limit: int
    ) -> list[Pace | Exception]:
        """Touch what is due in each shard, claim what nobody claimed, lend ended claims again.

        ``grace_ms`` is how long an expired event has to be claimed before the pacer takes over;
        ``limit`` bounds the members looked at in one shard, and so the time Redis is held up.
        Where one shard fails alone (its slot is on the move) the fault stands in its place.
        """
        calls = [
            Call(
                lua_scripts.PACE,
                (keys.agenda_key(shard), keys.claimed_key(shard), keys.epoch_key(shard)),
                (keys.active_prefix(shard), keys.live_prefix(shard), grace_ms, lease_ms, limit),
            )
            for shard in shards
        ]
        replies = try_calls(self._client, calls)
        if all(isinstance(reply, Exception) for reply in replies):
            raise_faults(replies)
        return [reply if isinstance(reply, Exception) else _read_pace(reply) for reply in replies]

    def begin_rebuild(self, shard: int, token: str) -> None:
        """Distrust a shard, empty its indexes and forget its watermarks; live keys stay.

        Read from Postgres only after this: what was committed before is then seen, and what is
        committed later arms by itself.
        """
        names = (keys.epoch_key, keys.agenda_key, keys.claimed_key, keys.swept_key)
        call = Call(
            lua_scripts.BEGIN_REBUILD,
            tuple(name(shard) for name in names),
            (token, keys.active_prefix(shard)),
        )
        run_calls(self._client, [call])

    def finish_rebuild(self, shard: int, token: str) -> bool:
        """Trust a shard again; False where another rebuild began or the server restarted."""
        call = Call(lua_scripts.FINISH_REBUILD, (keys.epoch_key(shard),), (token,))
        code = run_calls(self._client, [call])[0]
        return FinishResult(code) is FinishResult.FINISHED

    def epoch(self, shard: int) -> str | None:
        """Return ``building:<token>:<run_id>``, the ``run_id`` it was rebuilt under, or None."""
        return cast("str | None", self._ask([(shard, ("GET", keys.epoch_key(shard)))])[0])

    def run_id(self, shard: int = 0) -> str:
        """Return the id of a shard's server's present run.

        Every restart has its own, and so has every replica.

        Raises:
            RedisUnavailable: also where the server does not say.
        """
        return str(self._ask([(shard, ("INFO", "server"))])[0]["run_id"])

    def clock_ms(self, shard: int = 0) -> float:
        """Return the present instant by the clock of a shard's server."""
        return self.clocks_ms([shard])[shard]

    def clocks_ms(self, shards: Sequence[int]) -> dict[int, float]:
        """Return the present instant by the clock of each shard's server."""
        times = self._ask((shard, ("TIME",)) for shard in shards)
        return {
            shard: float(seconds * 1000 + micros / 1000)
            for shard, (seconds, micros) in zip(shards, times, strict=True)
        }

    def is_trusted(self, shard: int) -> bool:
        """Tell whether a shard was rebuilt under its server's present run."""
        return shard not in self.untrusted([shard])

    def untrusted(self, shards: Sequence[int] | None = None) -> list[int]:
        """Return those shards, of all where none are named, that have to be rebuilt.

        A shard whose server does not answer is left out: it cannot be rebuilt now.

        Raises:
            RedisUnavailable: no server answered.
        """
        asked = range(self.shards) if shards is None else shards
        commands = [
            Command(keys.epoch_key(shard), command)
            for shard in asked
            for command in (("GET", keys.epoch_key(shard)), ("INFO", "server"))
        ]
        replies = run_commands(self._client, commands)
        if replies and all(isinstance(reply, Exception) for reply in replies):
            raise_faults(replies)
        return [
            shard
            for shard, epoch, server in zip(asked, replies[::2], replies[1::2], strict=True)
            if not isinstance(epoch, Exception)
            and not isinstance(server, Exception)
            and epoch != server["run_id"]
        ]

    def show_alive(self, process: str, mode: str, for_ms: int) -> None:
        """Let it be seen for some time that a process of this kind runs, and how."""
        key = keys.heartbeat_key(process)
        raise_faults(run_commands(self._client, [Command(key, ("SET", key, mode, "PX", for_ms))]))

    def is_shown_alive(self, process: str) -> bool:
        """Tell whether a process of this kind showed itself lately."""
        key = keys.heartbeat_key(process)
        replies = run_commands(self._client, [Command(key, ("EXISTS", key))])
        raise_faults(replies)
        return bool(replies[0])

    def meet(self, listener: str, alive_ms: int) -> list[str]:
        """Show that a listener is alive; return all that showed it lately, this one among them."""
        call = Call(lua_scripts.MEET, (keys.listeners_key(),), (listener, alive_ms))
        return [str(one) for one in run_calls(self._client, [call])[0]]

    def leave(self, listener: str) -> None:
        """Let the others know at once that a listener ends."""
        key = keys.listeners_key()
        raise_faults(run_commands(self._client, [Command(key, ("ZREM", key, listener))]))

    def walk_index(self, page: int) -> Iterator[IndexPage]:
        """Walk through the deadline indexes of all shards, about ``page`` sessions at a time.

        What is added or removed meanwhile may or may not be met. What names no session is no
        session's, whoever wrote it: it would be counted as a chat, so it is removed on the way. An
        index that is not even one is passed over.
        """
        for shard in range(self.shards):
            agenda = keys.agenda_key(shard)
            (businesses,) = self._ask([(shard, ("ZRANGE", agenda, 0, -1))])
            for business in map(str, businesses):
                index = keys.active_prefix(shard) + business
                if keys.parse_business(business) is None:
                    strange = (("ZREM", agenda, _bytes_of(business)), ("UNLINK", _bytes_of(index)))
                    self._ask((shard, command) for command in strange)
                    yield IndexPage([], strangers=1)
                    continue
                try:
                    yield from self._walk_one(shard, business, page)
                except RedisUnavailable as error:
                    if not isinstance(error.__cause__, ResponseError):
                        raise
                    log.warning("index_not_readable", shard=shard, business=business)

    def _walk_one(self, shard: int, business: str, page: int) -> Iterator[IndexPage]:
        index = keys.active_prefix(shard) + business
        cursor = None
        while cursor != 0:
            command = ("ZSCAN", index, cursor or 0, "COUNT", page)
            ((cursor, found),) = self._ask([(shard, command)])
            parsed = {str(one): keys.parse_member(f"{business}:{one}") for one, _ in found}
            strange = [one for one, member in parsed.items() if member is None]
            if strange:
                self._ask([(shard, ("ZREM", index, *map(_bytes_of, strange)))])
            if parsed:
                members = [member for member in parsed.values() if member is not None]
                yield IndexPage(members, strangers=len(strange))

    def not_held(self, members: Sequence[Member]) -> list[Member]:
        """Return those that are neither in their index nor claimed, asked in one round trip."""
        groups: dict[BusinessId, list[Member]] = defaultdict(list)
        for member in members:
            groups[member.business_id].append(member)
        questions: list[tuple[int, Sequence[str]]] = []
        for business_id, theirs in groups.items():
            shard = keys.shard_of(business_id, self.shards)
            shorts = [shorten(member.session_id) for member in theirs]
            claims = [keys.member_text(one) for one in theirs]
            questions.append((shard, ("ZMSCORE", keys.active_key(shard, business_id), *shorts)))
            questions.append((shard, ("ZMSCORE", keys.claimed_key(shard), *claims)))
        scores = self._ask(questions)
        gone = {
            member
            for theirs, due, leased in zip(groups.values(), scores[::2], scores[1::2], strict=True)
            for member, due_ms, lease_ms in zip(theirs, due, leased, strict=True)
            if due_ms is None and lease_ms is None
        }
        return [member for member in members if member in gone]

    def read_swept(self, shard: int) -> dict[str, datetime]:
        """Return how far each pass of the sweep has read; empty after a rebuild began."""
        (stored,) = self._ask([(shard, ("HGETALL", keys.swept_key(shard)))])
        return {str(name): datetime.fromisoformat(str(value)) for name, value in stored.items()}

    def save_swept(self, shard: int, watermarks: Mapping[str, datetime]) -> None:
        """Store how far passes of the sweep have read."""
        if watermarks:
            items = [text for name, at in watermarks.items() for text in (name, at.isoformat())]
            self._ask([(shard, ("HSET", keys.swept_key(shard), *items))])

    def _ask(self, commands: Iterable[tuple[int, Sequence[Any]]]) -> list[Any]:
        """Send commands to where their shards are, in one round trip to each server."""
        placed = [Command(keys.epoch_key(shard), command) for shard, command in commands]
        replies = run_commands(self._client, placed) if placed else []
        raise_faults(replies)
        return replies

    def _arm_call(
        self, shard: int, arms: Sequence[Arm], token: str, at_ms: float | None = None
    ) -> Call:
        names = (keys.claimed_key(shard), keys.agenda_key(shard), keys.epoch_key(shard))
        args: list[str | float] = [keys.active_prefix(shard), keys.live_prefix(shard), token]
        args.append("" if at_ms is None else at_ms)
        for arm in arms:
            args.append(shorten_business(arm.business_id))
            args += (shorten(arm.session_id), arm.version, arm.remaining_ms)
        return Call(lua_scripts.ARM, names, args)

    def _forget_call(self, shard: int, members: Sequence[Member]) -> Call:
        args: list[str | int] = [keys.active_prefix(shard), keys.live_prefix(shard)]
        args += _names(members)
        return Call(lua_scripts.FORGET, (keys.claimed_key(shard), keys.agenda_key(shard)), args)

    def _claim_call(self, shard: int, members: Sequence[Member], lease_ms: int) -> Call:
        args: list[str | int] = [keys.active_prefix(shard), keys.live_prefix(shard), lease_ms]
        args += _names(members)
        return Call(lua_scripts.CLAIM, (keys.claimed_key(shard), keys.agenda_key(shard)), args)

    def _count_call(self, business_id: BusinessId, limit: int) -> Call:
        shard = keys.shard_of(business_id, self.shards)
        names = (keys.active_key(shard, business_id), keys.epoch_key(shard))
        return Call(lua_scripts.COUNT, names, (limit,))

    def _split(self, sessions: Sequence[_Session]) -> list[tuple[int, list[_Session], list[int]]]:
        """Split sessions by shard, and so that no call holds Redis up for long.

        Each part says its shard, its sessions and where in the whole they stood.
        """
        by_shard: dict[int, list[int]] = defaultdict(list)
        for position, one in enumerate(sessions):
            by_shard[keys.shard_of(one.business_id, self.shards)].append(position)
        return [
            (shard, [sessions[position] for position in part], part)
            for shard, positions in by_shard.items()
            for part in (
                positions[at : at + _CALL_MAX] for at in range(0, len(positions), _CALL_MAX)
            )
        ]


def _bytes_of(text: str) -> bytes:
    """Return what Redis holds, which need not be text: the client reads it so."""
    return text.encode("utf-8", "surrogateescape")


def _names(members: Sequence[Member]) -> list[str]:
    names: list[str] = []
    for business_id, session_id in members:
        names += (shorten_business(business_id), shorten(session_id))
    return names


def _in_order(
    splits: Sequence[tuple[int, Any, list[int]]], replies: Sequence[Any], size: int
) -> list[Any]:
    """Put the answers of several calls into the order of what was asked."""
    answers: list[Any] = [None] * size
    for (_, _, positions), reply in zip(splits, replies, strict=True):
        for position, answer in zip(positions, reply, strict=True):
            answers[position] = answer
    return answers


def _read_pace(reply: Sequence[Any]) -> Pace:
    trusted, now_us, wake_at_ms, touched, taken_over, *texts = reply
    # A member that cannot be read is not ours; it must not hold up the others.
    parsed = [keys.parse_member(text) for text in texts]
    return Pace(
        trusted=trusted == 1,
        now_us=now_us,
        wake_at_ms=wake_at_ms if wake_at_ms >= 0 else None,
        touched=touched,
        taken_over=[member for member in parsed[:taken_over] if member],
        lent_again=[member for member in parsed[taken_over:] if member],
    )
