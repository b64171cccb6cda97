"""Settings → clients → services, for every process: the only place that builds clients.

Nothing here opens a connection; each pool does at its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

from redis import Redis

from timer_service.access import Keys
from timer_service.active_chats import ActiveChatsReader
from timer_service.activity import ActivityReader
from timer_service.administration import Administration
from timer_service.arming import Armer
from timer_service.audit import Auditor
from timer_service.clock_guard import ClockGuard
from timer_service.closing import Closer, Completion
from timer_service.connection_control import ConnectionControl
from timer_service.connection_directory import ConnectionDirectory
from timer_service.contact_book import ContactBook
from timer_service.contacts_pull import ContactsPuller
from timer_service.count_tokens import CountTokens
from timer_service.database import Database
from timer_service.eraser import Eraser
from timer_service.expiry_listener import ExpiryListener
from timer_service.file_types import MB
from timer_service.follow_up import DeferredFollowUp, FollowUp
from timer_service.gateway_http import GatewayHttp
from timer_service.guarded_http import GuardedHttp
from timer_service.indexer import Indexer
from timer_service.installation import Installation
from timer_service.intake import Intake
from timer_service.job_queue import JobQueue
from timer_service.journal import Journal
from timer_service.live_chats import LiveChats
from timer_service.media_fetch import MediaFetcher
from timer_service.media_files import MediaFiles
from timer_service.media_keeper import MediaKeeper
from timer_service.media_library import MediaLibrary
from timer_service.media_links import MediaLinks
from timer_service.members import Members
from timer_service.message_sender import MessageSender
from timer_service.outgoing import Outbox
from timer_service.passwords import Passwords
from timer_service.people import People
from timer_service.primaries import primaries_of
from timer_service.rebuild import Rebuilder
from timer_service.redis_clients import (
    database_of,
    default_queue_url,
    live_request_client,
    live_worker_client,
    queue_client,
    request_queue_client,
)
from timer_service.secret_box import SecretBox
from timer_service.send_pace import SendPace
from timer_service.service import TimerService
from timer_service.settings import Settings, load_settings
from timer_service.spool import Spool
from timer_service.spool_announcements import SpoolAnnouncements
from timer_service.spool_replay import SpoolKeeper
from timer_service.stale_lists import StaleLists
from timer_service.sweeper import Sweeper
from timer_service.uploads import Uploads

KEEPER_WITHIN_S = 2.0
"""What the spool's keeper waits for Postgres: it must announce what waits soon after it came."""


@dataclass(frozen=True, slots=True)
class WebServices:
    """What a process that answers requests needs."""

    settings: Settings
    installation: Installation
    database: Database
    live_chats: LiveChats
    jobs: JobQueue
    keys: Keys
    people: People
    members: Members
    journal: Journal
    intake: Intake
    active_chats: ActiveChatsReader
    count_tokens: CountTokens
    activity: ActivityReader
    directory: ConnectionDirectory
    administration: Administration
    control: ConnectionControl
    puller: ContactsPuller
    service: TimerService
    outbox: Outbox
    media: MediaLibrary
    media_keeper: MediaKeeper
    media_links: MediaLinks
    uploads: Uploads
    spool: Spool | None
    spool_keeper: SpoolKeeper
    lists: StaleLists
    contact_book: ContactBook


@dataclass(frozen=True, slots=True)
class BackgroundServices:
    """What the listener, the sweeper and the workers need."""

    settings: Settings
    database: Database
    live_chats: LiveChats
    jobs: JobQueue
    follow_up: FollowUp
    announcements: SpoolAnnouncements
    closer: Closer


def queue_url(settings: Settings) -> str:
    """Where RQ lives: as set, or the next database of the live keys' server."""
    if settings.queue_redis_url is not None:
        return settings.queue_redis_url.get_secret_value()
    return default_queue_url(settings.require_redis_url())


def rq_client(settings: Settings) -> Redis:
    """Make a client for RQ."""
    return queue_client(queue_url(settings))


def _request_jobs(settings: Settings) -> JobQueue:
    """Put jobs into queues while somebody waits for an answer: what fails is the sweep's."""
    return JobQueue(request_queue_client(queue_url(settings)))


def build_service(settings: Settings) -> TimerService:
    """Build the service alone, as a program has it in-process: it needs no encryption keys."""
    database = Database.for_requests(settings.require_database_url())
    live_chats = LiveChats(live_request_client(settings.require_redis_url()), settings.shards)
    follow_up = FollowUp(Armer(database, live_chats), _request_jobs(settings))
    return _service(database, live_chats, follow_up)


def _service(
    database: Database,
    live_chats: LiveChats,
    follow_up: FollowUp,
    held_after: Callable[[], datetime | None] = lambda: None,
) -> TimerService:
    return TimerService(
        database=database,
        intake=Intake(database, follow_up, held_after=held_after),
        completion=Completion(database, follow_up),
        follow_up=follow_up,
        active_chats=ActiveChatsReader(database, live_chats),
    )


def build_web(settings: Settings) -> WebServices:
    """Build what answers requests: short time-outs everywhere."""
    database = Database.for_requests(settings.require_database_url())
    live_chats = LiveChats(live_request_client(settings.require_redis_url()), settings.shards)
    jobs = _request_jobs(settings)
    follow_up = FollowUp(Armer(database, live_chats), jobs)
    secret_box = SecretBox(settings.encryption_key_list())
    patient = database.patient()
    keys = Keys(patient, settings.admin_key.get_secret_value() if settings.admin_key else None)
    passwords = Passwords()
    people = People(patient, passwords)
    directory = ConnectionDirectory(database, secret_box)
    spool = None if settings.spool_dir is None else Spool(settings.spool_dir)
    installation = Installation(database, settings)
    files = _media_files(settings)
    announcements, keeper = _spool_keeper(settings, spool, directory, installation)
    administration = _administration(settings, patient, keys, follow_up)
    patient_intake = Intake(patient, follow_up, held_after=announcements.known_held_after)
    control = ConnectionControl(
        patient,
        administration=administration,
        secret_box=secret_box,
        gateways=GatewayHttp(),
        public_url=settings.public_url,
    )
    return WebServices(
        settings=settings,
        installation=installation,
        database=database,
        live_chats=live_chats,
        jobs=jobs,
        keys=keys,
        people=people,
        members=Members(
            patient, accounts=people, passwords=passwords, public_url=settings.public_url
        ),
        journal=Journal(patient),
        # Of the chats of webhooks that ask nothing waits in the host's own spool.
        intake=Intake(
            database,
            follow_up,
            held_after=partial(_known_to_wait, announcements, spool),
            held_here=keeper.held_after,
        ),
        active_chats=ActiveChatsReader(patient, live_chats),
        count_tokens=CountTokens(settings.encryption_key_list()),
        activity=ActivityReader(patient),
        directory=directory,
        administration=administration,
        control=control,
        puller=ContactsPuller(patient, control, patient_intake, follow_up),
        service=_service(patient, live_chats, follow_up, announcements.known_held_after),
        outbox=Outbox(patient, patient_intake, follow_up),
        media=MediaLibrary(
            patient,
            secret_box=secret_box,
            files=files,
            fetcher=MediaFetcher(GuardedHttp()),
            most_bytes=settings.media_file_mb * MB,
        ),
        media_keeper=MediaKeeper(patient, files, settings.media_dir),
        media_links=_media_links(settings),
        uploads=Uploads(patient, files, most_bytes=settings.media_file_mb * MB),
        spool=spool,
        spool_keeper=keeper,
        lists=StaleLists(patient, _replica(settings)),
        contact_book=ContactBook(patient),
    )


def _administration(
    settings: Settings, database: Database, keys: Keys, follow_up: FollowUp
) -> Administration:
    return Administration(
        database,
        keys=keys,
        secret_box=SecretBox(settings.encryption_key_list()),
        completion=Completion(database, follow_up),
        eraser=Eraser(database, follow_up),
        public_url=settings.public_url,
        idle_gap_s=settings.idle_gap_s,
    )


def _media_files(settings: Settings) -> MediaFiles | None:
    folder = settings.media_dir
    return None if folder is None else MediaFiles(folder, quota_bytes=settings.media_quota_mb * MB)


def _media_links(settings: Settings) -> MediaLinks:
    return MediaLinks(settings.encryption_key_list(), settings.public_url)


def _replica(settings: Settings) -> Database | None:
    url = settings.database_replica_url
    return None if url is None else Database.for_requests(url.get_secret_value(), size=4)


def _known_to_wait(announcements: SpoolAnnouncements, spool: Spool | None) -> datetime | None:
    return announcements.known_held_after(but=None if spool is None else spool.id)


def _spool_keeper(
    settings: Settings,
    spool: Spool | None,
    directory: ConnectionDirectory,
    installation: Installation,
) -> tuple[SpoolAnnouncements, SpoolKeeper]:
    """Build what keeps the spool, on connections of its own, and what it hears of others."""
    database = Database.for_workers(
        settings.require_database_url(), size=2, within_s=KEEPER_WITHIN_S
    )
    client = live_request_client(settings.require_redis_url())
    live_chats = LiveChats(client, settings.shards)
    follow_up = FollowUp(Armer(database, live_chats), _request_jobs(settings))
    announcements = SpoolAnnouncements(database, client)

    def held_by_others() -> datetime | None:
        return announcements.held_after(but=None if spool is None else spool.id)

    keeper = SpoolKeeper(
        spool,
        intake=Intake(database, follow_up, held_after=held_by_others),
        database=database,
        announcements=announcements,
        directory=directory,
        may_replay=lambda: installation.waits_for is None,
    )
    return announcements, keeper


def build_background(settings: Settings) -> BackgroundServices:
    """Build what works in the background: it may wait longer and sees every error."""
    database = Database.for_workers(settings.require_database_url())
    live_chats = LiveChats(live_worker_client(settings.require_redis_url()), settings.shards)
    jobs = JobQueue(rq_client(settings))
    follow_up = FollowUp(Armer(database, live_chats), jobs)
    # A Redis that hangs must not hold up what Postgres can close.
    asking = live_request_client(settings.require_redis_url())
    announcements = SpoolAnnouncements(database, asking)
    return BackgroundServices(
        settings=settings,
        database=database,
        live_chats=live_chats,
        jobs=jobs,
        follow_up=follow_up,
        announcements=announcements,
        closer=Closer(database, follow_up, ClockGuard(), announcements),
    )


def build_sender(services: BackgroundServices) -> MessageSender:
    """Build what sends messages: of all workers it alone opens connections' secrets."""
    settings = services.settings
    return MessageSender(
        services.database,
        secret_box=SecretBox(settings.encryption_key_list()),
        pace=SendPace(live_worker_client(settings.require_redis_url())),
        gateways=GatewayHttp(),
        files=_media_files(settings),
        links=_media_links(settings),
        public_url=settings.public_url,
    )


def build_control(services: BackgroundServices) -> ConnectionControl:
    """Build what asks gateways in the background, in the worker that sends."""
    settings = services.settings
    keys = Keys(services.database, None)
    return ConnectionControl(
        services.database,
        administration=_administration(settings, services.database, keys, services.follow_up),
        secret_box=SecretBox(settings.encryption_key_list()),
        gateways=GatewayHttp(),
        public_url=settings.public_url,
    )


def build_puller(services: BackgroundServices, control: ConnectionControl) -> ContactsPuller:
    """Build what brings contacts in."""
    intake = Intake(
        services.database, services.follow_up, held_after=services.announcements.held_after
    )
    return ContactsPuller(services.database, control, intake, services.follow_up)


@dataclass(frozen=True, slots=True)
class ListenerServices:
    """The duties of a listener process."""

    listener: ExpiryListener
    sweeper: Sweeper
    rebuilder: Rebuilder
    eraser: Eraser
    indexer: Indexer
    announcements: SpoolAnnouncements


def build_listener(settings: Settings) -> ListenerServices:
    """Build the expiry listener and the sweeper that backs it."""
    services = build_background(settings)
    redis_url = settings.require_redis_url()
    armer = Armer(services.database, services.live_chats)
    rebuilder = Rebuilder(services.database, services.live_chats, settings.shards)
    sweeper = Sweeper(
        database=services.database,
        live_chats=services.live_chats,
        jobs=services.jobs,
        closer=services.closer,
        rebuilder=rebuilder,
        auditor=Auditor(services.database, services.live_chats, armer),
        armer=armer,
        period_s=settings.sweep_period_s,
    )
    follow_up = DeferredFollowUp(services.follow_up)
    listener = ExpiryListener(
        services.live_chats,
        Closer(services.database, follow_up, ClockGuard(), services.announcements),
        primaries=primaries_of(redis_url, settings.shards),
        database=database_of(redis_url),
        on_resubscribed=sweeper.wake,
        on_untrusted=lambda _shard: rebuilder.want(),
        follow_up=follow_up.run_thread,
    )
    eraser = Eraser(services.database, services.follow_up, kept_for=settings.kept_for)
    indexer = Indexer(services.database)
    return ListenerServices(listener, sweeper, rebuilder, eraser, indexer, services.announcements)


@lru_cache(maxsize=1)
def job_services() -> BackgroundServices:
    """Return this worker process's services: RQ calls entry points with ids and nothing else."""
    return build_background(load_settings())
