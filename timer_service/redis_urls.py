"""What a Redis URL says: one server, a primary watched by Sentinels, or a Cluster.

Read by settings, which refuses a wrong one at start, and by `redis_clients`. The forms for one
server are redis-py's own. redis-py has none for the other two; these are the ones that
redis-sentinel-url (which rq-dashboard uses), docket and Prefect read (November 2026)::

    redis+sentinel://[user:password@]host[:26379],host[:26379],…/service[/database][?options]
    redis+cluster://[user:password@]host[:6379],host[:6379],…[?options]

``rediss+…`` is the same with TLS, to the Sentinels too. User and password are the data servers';
the Sentinels' own stand among the options as ``sentinel_username`` and ``sentinel_password``. All
other options are redis-py's for one server. No message here repeats a URL: it holds passwords.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.connection import parse_url

FORMS = (
    "redis://host:6379/0, rediss://…, unix://…, redis+sentinel://host:26379,host:26379/service/0 "
    "or redis+cluster://host:6379,host:6379 (rediss+… for TLS)"
)

_DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}
_OF_SENTINELS = ("sentinel_username", "sentinel_password")


class Topology(StrEnum):
    """What stands behind a URL."""

    ONE_SERVER = "one server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """One URL, taken apart. ``options`` go to each connection with a data server."""

    topology: Topology
    text: str = field(repr=False)
    addresses: tuple[Address, ...] = ()
    """Of Sentinels, or of servers of a Cluster; any one that answers tells the rest."""
    service: str = ""
    database: int = 0
    is_encrypted: bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse_redis_url(url: str) -> RedisUrl:
    """Take a URL apart.

    Raises:
        ValueError: it has none of the forms, or lacks something; the message holds nothing of it.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.partition("+")
    if kind not in _DEFAULT_PORTS:
        try:
            options = parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError:
            raise ValueError(f"expected {FORMS}") from None
        return RedisUrl(Topology.ONE_SERVER, url, database=int(options.get("db", 0)))
    if base not in {"redis", "rediss"}:
        raise ValueError(f"expected {FORMS}")

    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    who, at, hosts = authority.rpartition("@")
    addresses = tuple(_read_address(one, _DEFAULT_PORTS[kind]) for one in hosts.split(","))
    parts = [unquote(part) for part in path.split("/") if part]
    asked = dict(parse_qsl(query))
    sentinel_options = {
        name.removeprefix("sentinel_"): asked.pop(name) for name in _OF_SENTINELS if name in asked
    }
    # What is common to all forms is redis-py's to read, as if there were one server.
    options = parse_url(f"{base}://{who}{at}host?{urlencode(asked)}")  # type: ignore[no-untyped-call]
    is_encrypted = options.pop("connection_class", None) is not None
    del options["host"]
    database = options.pop("db", None)
    if kind == "cluster":
        if parts not in ([], ["0"]) or database not in (None, 0):
            raise ValueError("a Redis Cluster has database 0 only: leave out any other")
        return RedisUrl(
            Topology.CLUSTER, url, addresses, is_encrypted=is_encrypted, options=options
        )
    service, *others = parts or [""]
    if not service or len(others) > 1:
        raise ValueError(
            "expected the name of the service the Sentinels watch, and perhaps a database: "
            "redis+sentinel://host:26379,host:26379/service/0"
        )
    if database is None:
        database = _read_database(others[0]) if others else 0
    return RedisUrl(
        Topology.SENTINEL,
        url,
        addresses,
        service=service,
        database=database,
        is_encrypted=is_encrypted,
        options=options,
        sentinel_options=sentinel_options,
    )


def next_database(url: str) -> str:
    """Return the URL of the following database of the same server or service.

    Raises:
        ValueError: a Cluster has one only.
    """
    parsed = parse_redis_url(url)
    if parsed.topology is Topology.CLUSTER:
        raise ValueError("a Redis Cluster has one database only")
    following = parsed.database + 1
    base, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    if "db" in options or base.startswith("unix:"):
        return f"{base}?{urlencode({**options, 'db': following})}"
    scheme, _, rest = base.partition("://")
    server, _, path = rest.partition("/")
    kept = [path.partition("/")[0]] if parsed.topology is Topology.SENTINEL else []
    where = "/".join([server, *kept, str(following)])
    return f"{scheme}://{where}" + (f"?{query}" if query else "")


def _read_address(text: str, default_port: int) -> Address:
    try:
        parts: SplitResult = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        raise ValueError("expected host:port,host:port,… after the scheme")
    return unquote(host), port or default_port


def _read_database(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("expected the database behind the service to be a number")
    return int(text)
