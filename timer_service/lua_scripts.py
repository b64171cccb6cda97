"""Loads the Lua scripts that ship with the package and runs calls of them in one round trip.

Called by those who keep something in Redis. A script is one file in ``lua/``; its head states its
contract.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from timer_service.redis_clients import LiveRedis, raise_faults, redis_errors, run_commands
from timer_service.redis_cluster import ClusterClient, Command


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its file's name without ``.lua``, its text, and the digest Redis knows it by."""

    name: str
    source: str = field(repr=False)
    sha: str


class Call(NamedTuple):
    """One call of a script."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | float | bytes]


def load_script(name: str) -> Script:
    """Read a script from the package."""
    source = (files("timer_service") / "lua" / f"{name}.lua").read_text("utf-8")
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)


ARM = load_script("arm")
CLAIM = load_script("claim")
FORGET = load_script("forget")
COUNT = load_script("count")
PACE = load_script("pace")
BEGIN_REBUILD = load_script("begin_rebuild")
FINISH_REBUILD = load_script("finish_rebuild")
MEET = load_script("meet")
ENQUEUE = load_script("enqueue")
TAKE_TURN = load_script("take_turn")
WITHDRAW = load_script("withdraw")


def run_calls(client: LiveRedis, calls: Sequence[Call]) -> list[Any]:
    """Run calls in the order given, in one round trip, and return their replies.

    Not a transaction: each script is atomic by itself. Only calls whose script the server does not
    have run again, with their source, so that a call that was carried out is not carried out twice.

    Raises:
        RedisUnavailable: Redis is away, or a call failed; the others may have been carried out.
    """
    replies = try_calls(client, calls)
    raise_faults(replies)
    return replies


def try_calls(client: LiveRedis, calls: Sequence[Call]) -> list[Any]:
    """Run calls as `run_calls` does, but let a fault stand where its call's reply would.

    Raises:
        RedisUnavailable: the one server is away, or nobody knows where a cluster's slots are.
    """
    with redis_errors():
        replies = _run(client, calls)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = _run_in_full(client, [calls[i] for i in missing])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
    return replies


def _run(client: LiveRedis, calls: Sequence[Call]) -> list[Any]:
    if isinstance(client, ClusterClient):
        return client.run(
            [
                Command(keys[0], ("EVALSHA", script.sha, len(keys), *keys, *args))
                for script, keys, args in calls
            ]
        )
    if len(calls) == 1:  # nearly always: a pipeline of one costs half as much again
        script, keys, args = calls[0]
        try:
            return [client.evalsha(script.sha, len(keys), *keys, *args)]
        except ResponseError as refused:
            return [refused]
    with client.pipeline(transaction=False) as pipe:
        for script, keys, args in calls:
            pipe.evalsha(script.sha, len(keys), *keys, *args)
        return pipe.execute(raise_on_error=False)


def _run_in_full(client: LiveRedis, calls: Sequence[Call]) -> list[Any]:
    """Run calls by their source: scripts that were loaded first may be forgotten again by then."""
    return run_commands(
        client,
        [
            Command(keys[0], ("EVAL", script.source, len(keys), *keys, *args))
            for script, keys, args in calls
        ],
    )
