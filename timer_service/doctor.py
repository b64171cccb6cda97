"""Looks at everything a deployment needs and says what to do about what is wrong.

Called by `timer-service doctor`. Changes nothing; shows no secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx2
from alembic.script import ScriptDirectory
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import text

from timer_service.database import Database
from timer_service.errors import ConfigurationError, TimerServiceError
from timer_service.expiry_listener import PROCESS as LISTENER
from timer_service.file_types import MB
from timer_service.live_chats import LiveChats
from timer_service.media_files import MediaFiles, Shelf
from timer_service.messages import SummarizerChoice
from timer_service.migrate import alembic_config
from timer_service.notifications import (
    SAFE_EVICTION_POLICY,
    canary_sings,
    eviction_policy,
)
from timer_service.primaries import Primary, primaries_of
from timer_service.redis_clients import live_worker_client, redis_errors, worker_client
from timer_service.secret_box import SecretBox
from timer_service.settings import Settings
from timer_service.spool import Spool
from timer_service.wiring import queue_url

OLDEST_REDIS = (6, 2)
OLDEST_POSTGRES = 140_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    is_well: bool
    text: str


def examine(settings: Settings, console: Console) -> int:
    """Print a table of findings; return 0 if all is well, else 1."""
    looks: dict[str, Callable[[Settings], list[Finding]]] = {
        "Encryption": look_at_encryption,
        "Postgres": look_at_postgres,
        "Redis": look_at_redis,
        "Queue": look_at_queue,
        "Spool": look_at_spool,
        "Files": look_at_files,
        "Model": look_at_model,
    }
    table = Table("", "What", "Found")
    is_well = True
    for name, look in looks.items():
        try:
            findings = look(settings)
        except (TimerServiceError, ConfigurationError) as error:
            findings = [Finding(is_well=False, text=str(error))]
        for finding in findings:
            is_well = is_well and finding.is_well
            table.add_row("✓" if finding.is_well else "✗", name, escape(finding.text))
    console.print(table)
    return 0 if is_well else 1


def masked(url: str) -> str:
    """Return a URL without its passwords."""
    url = re.sub(r"(password=)[^&]*", r"\1***", url)
    scheme, there, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    who, at, hosts = authority.rpartition("@")
    user, colon, _ = who.partition(":")
    secret = ":***" if colon else ""
    return f"{scheme}{there}{user}{secret}{at}{hosts}{slash}{path}"


def look_at_encryption(settings: Settings) -> list[Finding]:
    """Look whether secrets can be encrypted."""
    found = settings.encryption_key_list()
    SecretBox(found)
    return [Finding(is_well=True, text=f"{len(found)} key(s); the first encrypts")]


def look_at_postgres(settings: Settings) -> list[Finding]:
    """Look at the server, its version and the schema."""
    url = settings.require_database_url()
    database = Database.for_workers(url, size=1)
    try:
        with database.transaction() as db:
            version = int(db.execute(text("SHOW server_version_num")).scalar_one())
            has_schema = db.execute(text("SELECT to_regclass('alembic_version')")).scalar_one()
            revision = (
                db.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
                if has_schema
                else None
            )
    finally:
        database.close()
    head = ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    schema = (
        Finding(is_well=True, text=f"schema {revision} is the newest")
        if revision == head
        else Finding(
            is_well=False,
            text=f"schema is {revision or 'not there'}, the newest is {head}: run "
            "`timer-service migrate`",
        )
    )
    return [
        Finding(
            is_well=version >= OLDEST_POSTGRES,
            text=f"{masked(url)}, version {version // 10_000} (14 or later is needed)",
        ),
        schema,
    ]


def look_at_redis(settings: Settings) -> list[Finding]:
    """Look at each server that holds live keys, and for a listener."""
    url = settings.require_redis_url()
    client = live_worker_client(url)
    try:
        listens = LiveChats(client, settings.shards).is_shown_alive(LISTENER)
        found = [
            finding
            for primary in primaries_of(url, settings.shards).look()
            for finding in _look_at_primary(primary, masked(url))
        ]
    finally:
        client.close()
    return [
        *found,
        Finding(
            is_well=listens,
            text="a listener is alive"
            if listens
            else "no listener is alive: run `timer-service listen`",
        ),
    ]


def _look_at_primary(primary: Primary, url: str) -> list[Finding]:
    client = primary.client
    with redis_errors():
        version = str(client.info("server")["redis_version"])
    is_recent = tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_REDIS
    policy = eviction_policy(client)
    hears_events = canary_sings(client, primary.tag)
    client.close()
    primary.events_client.close()
    where = f"{primary.name} of {url}" if primary.name else url
    at = f" at {primary.name}" if primary.name else ""
    return [
        Finding(is_well=is_recent, text=f"{where}, version {version} (6.2 or later)"),
        Finding(
            is_well=policy == SAFE_EVICTION_POLICY,
            text=f"maxmemory-policy{at} is {policy}"
            + (
                ""
                if policy == SAFE_EVICTION_POLICY
                else f": set it to {SAFE_EVICTION_POLICY}, or chats get lost"
            ),
        ),
        Finding(
            is_well=True,
            text=f"expired events{at} are on"
            if hears_events
            else f"expired events{at} are off: a listener switches them on, or, where it may not, "
            "claims directly with the same result",
        ),
    ]


def look_at_queue(settings: Settings) -> list[Finding]:
    """Look at RQ's own database."""
    url = queue_url(settings)
    client = worker_client(url)
    with redis_errors():
        client.ping()
        workers = client.scard("rq:workers")
    client.close()
    return [
        Finding(is_well=True, text=masked(url)),
        Finding(
            is_well=bool(workers),
            text=f"{workers} worker(s)" if workers else "no worker: run `timer-service work`",
        ),
    ]


def look_at_spool(settings: Settings) -> list[Finding]:
    """Look at what this host keeps while Postgres is away."""
    if settings.spool_dir is None:
        text = "TIMER_SPOOL_DIR is not set: while Postgres is away webhooks are answered 503"
        return [Finding(is_well=True, text=text)]
    spool = Spool(settings.spool_dir)
    try:
        state = spool.state()
    finally:
        spool.close()
    return [
        Finding(is_well=True, text=f"{settings.spool_dir}, {state.waiting} part(s) wait"),
        Finding(
            is_well=state.parked == 0,
            text=f"{state.parked} part(s) could not be stored and were set aside"
            + (": the log says why (spool_replay_failed)" if state.parked else ""),
        ),
    ]


def look_at_files(settings: Settings) -> list[Finding]:
    """Look at the folder of files that came with messages, and of those to be sent."""
    if settings.media_dir is None:
        text = "TIMER_MEDIA_DIR is not set: files of messages are not fetched, none can be sent"
        return [Finding(is_well=True, text=text)]
    files = MediaFiles(settings.media_dir, quota_bytes=settings.media_quota_mb * MB)
    used_mb = sum(one.size_bytes for shelf in Shelf for one in files.kept(shelf)) // MB
    of = f"{used_mb} of {settings.media_quota_mb} MB used"
    return [Finding(is_well=True, text=f"{settings.media_dir}, {of}")]


def look_at_model(settings: Settings) -> list[Finding]:
    """Look whether the model's address answers; asks it for nothing that costs."""
    key, base_url = settings.openai_api_key, settings.openai_base_url
    if settings.summarizer is SummarizerChoice.EXTRACTIVE or not (key or base_url):
        return [Finding(is_well=True, text="none set: summaries are extractive, with no network")]
    address = (base_url or "https://api.openai.com/v1").rstrip("/")
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = httpx2.get(f"{address}/models", headers=headers, timeout=10)
    except httpx2.HTTPError as error:
        return [
            Finding(
                is_well=False, text=f"{masked(address)} gives no answer: {type(error).__name__}"
            )
        ]
    if answer.status_code in {401, 403}:
        return [Finding(is_well=False, text=f"{masked(address)} refuses OPENAI_API_KEY")]
    return [Finding(is_well=True, text=f"{masked(address)}, model {settings.summary_model}")]
