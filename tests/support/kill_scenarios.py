"""What processes are doing when they are killed, cut off or stopped: a scenario for each duty.

``prepare`` runs in the test's process and returns what ``act`` needs, as JSON. ``act`` runs in a
process that may not survive it, and, where a gateway would repeat what was not answered, again in
the test's own. What must hold afterwards is `invariants`; ``check`` adds what only this scenario
can know, and ``end`` what must hold once everybody has said what they know.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any, Protocol
from uuid import UUID

from werkzeug.exceptions import ServiceUnavailable

from tests.support.builders import DANA, NOAM, World
from tests.support.time_travel import pass_time
from timer_http.webhook_delivery import Delivery
from timer_service import messages, rebuild
from timer_service.callback_job import call_back
from timer_service.closing import Closer
from timer_service.connection_directory import ConnectionDirectory, KnownConnection
from timer_service.database import Database
from timer_service.errors import TimerServiceError
from timer_service.ids import BusinessId, ConnectionId, SessionId
from timer_service.intake import Intake
from timer_service.keys import Member
from timer_service.live_chats import Arm, ClaimResult, LiveChats
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    DeliveryStatus,
    InboundMessage,
    MessageChange,
    OwnMessage,
    ProviderName,
)
from timer_service.outgoing import Decision, MessageToSend, Outbox
from timer_service.pacer import LEASE_MS
from timer_service.secret_box import SecretBox
from timer_service.send_job import send_message
from timer_service.service import TimerService
from timer_service.spool import Spool, SpoolFull
from timer_service.spool_announcements import SpoolAnnouncements
from timer_service.spool_replay import SpoolKeeper
from timer_service.summarize_job import SummaryWorker, summarize_session
from timer_service.summarizers import ExtractiveSummarizer
from timer_service.sweeper import Sweeper

Args = dict[str, Any]

GAP_S = 900
TOLD_FILE = "KILL_POINTS_TOLD_FILE"
GATEWAY_URL = "KILL_POINTS_GATEWAY"
TAKEN_FILE = "taken"
META = ProviderName.META
CALLBACK = f"{__name__}.note_closed"
LID = ContactIds(lid="77000000000001")
BOTH = ContactIds(phone=DANA.phone, lid=LID.lid)


class Services(Protocol):
    """What a process works with; a `World` has it too."""

    database: Database
    live_chats: LiveChats
    intake: Intake
    closer: Closer
    sweeper: Sweeper
    service: TimerService


@dataclass(frozen=True, slots=True)
class Scenario:
    """``repeats``: whoever asked asks again until it is answered. ``keeps_others_waiting``: while
    it hangs it may hold what the others need; they do its work when it goes on, or is dead."""

    prepare: Callable[[World], Args]
    act: Callable[[Services, Args], object]
    repeats: bool = False
    keeps_others_waiting: bool = False
    check: Callable[[World, Args], Iterator[str]] = lambda _world, _args: iter(())
    end: Callable[[World, Args], Iterator[str]] = lambda _world, _args: iter(())


def note_closed(session: dict[str, Any]) -> None:
    """A program's callback: says in a file which session it was told of."""
    with open(os.environ[TOLD_FILE], "a") as told:  # noqa: PTH123 - one write, at its end
        told.write(f"{session['id']}\n")


def _message(name: str, contact: ContactIds, **more: Any) -> InboundMessage:
    return InboundMessage(
        provider_message_id=name, contact=contact, text=f"is the blue one, {name}, here?", **more
    )


def _answer(name: str, contact: ContactIds) -> OwnMessage:
    return OwnMessage(provider_message_id=name, contact=contact, text=f"yes, {name} are left")


def _record(services: Services, args: Args, *messages: InboundMessage) -> None:
    services.intake.record(ConnectionId(UUID(args["connection"])), messages)


def _args(world: World, *messages: str, **more: Any) -> Args:
    return {"connection": str(world.connection_id), "messages": list(messages), **more}


# a customer's first message


def _prepare_nothing(world: World) -> Args:
    return _args(world, "first")


def _write_first(services: Services, args: Args) -> None:
    _record(services, args, _message("first", DANA, customer_name="Dana"))


# a message of an open chat, through continue_sessions


def _prepare_chat(world: World) -> Args:
    world.record(_message("first", DANA))
    pass_time(world, 300)
    return _args(world, "first", "second")


def _write_second(services: Services, args: Args) -> None:
    _record(services, args, _message("second", DANA))


# a batch: one session is overdue, one open, one customer new


def _prepare_overdue(world: World) -> Args:
    world.service.on_closed(CALLBACK)
    world.record(_message("first", DANA), _answer("answer", DANA))
    pass_time(world, GAP_S + 1)
    world.record(_message("noam", NOAM))
    return _args(world, "first", "answer", "noam", "second", "third", "noam-2", "new")


def _write_batch(services: Services, args: Args) -> None:
    _record(
        services,
        args,
        _message("second", DANA),
        _message("noam-2", NOAM),
        _message("third", DANA),
        _message("new", ContactIds(phone="972500000003")),
    )


def _check_overdue(world: World, _args: Args) -> Iterator[str]:
    reasons = sorted(one.close_reason or "open" for one in world.sessions())
    if reasons != ["idle", "open", "open", "open"]:
        yield f"expected one session closed by silence and three open, found {reasons}"


# a message whose ids are two contacts': their open sessions become one


def _prepare_two_contacts(world: World) -> Args:
    world.record(_message("by-phone", DANA), _message("by-lid", LID))
    return _args(world, "by-phone", "by-lid", "both")


def _write_as_both(services: Services, args: Args) -> None:
    _record(services, args, _message("both", BOTH))


def _check_merged(world: World, _args: Args) -> Iterator[str]:
    reasons = sorted(one.close_reason or "open" for one in world.sessions())
    if reasons != ["open", "replaced"]:
        yield f"expected one open session and one replaced, found {reasons}"


# an agent completes a session


def _prepare_open(world: World) -> Args:
    world.service.on_closed(CALLBACK)
    session_id = world.record(_message("first", DANA), _answer("answer", DANA))[0].session_id
    return _args(world, "first", "answer", session=str(session_id))


def _complete(services: Services, args: Args) -> None:
    services.service.complete(UUID(args["session"]))


def _check_completed(world: World, args: Args) -> Iterator[str]:
    reason = world.session(UUID(args["session"])).close_reason
    if reason != "completed":
        yield f"expected the session to be completed, it is {reason or 'open'}"


# claim and close: two are due, one was touched and not armed, one is closed already, one is erased


def _prepare_due(world: World) -> Args:
    world.service.on_closed(CALLBACK)
    names = [f"due-{number}" for number in range(5)]
    people = [ContactIds(phone=f"97250000001{number}") for number in range(5)]
    recorded = world.record(*map(_message, names, people))
    pass_time(world, GAP_S + 1)
    ids = [one.session_id for one in recorded]
    _touch_unnoticed(world, ids[2])
    # Closed as the next message does it, by a process that died before it told Redis.
    world.run(
        "SELECT close_sessions(ARRAY[CAST(:id AS uuid)], 'idle', '30 s', NULL, NULL)", id=ids[3]
    )
    world.run("DELETE FROM sessions WHERE id = :id", id=ids[4])
    members = [[str(world.business_id), str(one)] for one in ids]
    return _args(world, *names[:4], members=members, touched=str(ids[2]))


def _touch_unnoticed(world: World, session_id: UUID) -> None:
    world.run(
        "UPDATE sessions SET version = version + 1, "
        "last_touch_at = now() - interval '60 s', "
        f"deadline_at = now() + interval '{GAP_S - 60} s' WHERE id = :id",
        id=session_id,
    )


def _claim_and_close(services: Services, args: Args) -> None:
    members = [
        Member(BusinessId(UUID(business)), SessionId(UUID(session)))
        for business, session in args["members"]
    ]
    outcomes = services.live_chats.claim(members, LEASE_MS)
    won = [
        member
        for member, outcome in zip(members, outcomes, strict=True)
        if outcome.result is ClaimResult.WON
    ]
    services.closer.close_claimed(won)


def _check_due(world: World, args: Args) -> Iterator[str]:
    if not world.session(UUID(args["touched"])).is_open:
        yield "the touched session is closed"
    if len([one for one in world.sessions() if one.is_open]) != 1:
        yield "expected all but the touched session to be closed"


# a sweep in which each pass has work


def _prepare_untidy(world: World) -> Args:
    world.service.on_closed(CALLBACK)
    names = ["lost", "overdue", "completed", "unindexed"]
    people = [ContactIds(phone=f"97250000002{number}") for number in range(len(names))]
    # Long before the watermark that a rebuild sets, so that only the audit finds it.
    unindexed = world.record(_message(names[3], people[3]))[0].session_id
    pass_time(world, 120)
    world.redis.flushall()
    world.trust()
    overdue = world.record(_message(names[1], people[1]))[0].session_id
    world.run(
        "UPDATE sessions SET last_touch_at = last_touch_at - interval '1 h', "
        "due_not_before = due_not_before - interval '1 h', "
        "started_at = started_at - interval '1 h', created_at = created_at - interval '1 h', "
        "deadline_at = deadline_at - interval '1 h' WHERE id = :id",
        id=overdue,
    )
    world.record(MessageChange(kind=ChangeKind.EDIT, direction=None, target=names[2], text="!"))
    completed = world.record(_message(names[2], people[2]))[0].session_id
    world.service.complete(completed)
    world.queue_redis.flushdb()
    lost = world.record(_message(names[0], people[0]))[0].session_id
    pass_time(world, 31)
    world.live_chats.forget([world.member(one) for one in (lost, overdue, unindexed)])
    stale = Arm(world.business_id, SessionId(completed), 1, 600_000)
    world.live_chats.arm([stale])
    return _args(world, *names)


def _sweep(services: Services, _args: Args) -> None:
    services.sweeper.sweep_once()


# a rebuild of thirty sessions, ten to a page


def _prepare_wiped(world: World) -> Args:
    people = [ContactIds(phone=f"9725000003{number:02}") for number in range(30)]
    names = [f"wiped-{number}" for number in range(30)]
    world.record(*map(_message, names, people))
    world.redis.flushall()
    return _args(world, *names)


def _rebuild(services: Services, _args: Args) -> None:
    rebuild.PAGE = 10  # in a process of its own
    services.sweeper.rebuild_once()


# summaries and callbacks


def _prepare_closed(world: World) -> Args:
    session_id = world.record(
        _message("asked", DANA, customer_name="Dana"), _answer("answered", DANA)
    )[0].session_id
    world.service.complete(session_id)
    world.queue_redis.flushdb()  # the worker that runs a job has taken it
    return _args(world, "asked", "answered", session=str(session_id))


def _summarize(_services: Services, args: Args) -> None:
    summarize_session(args["session"], 1)


def _summarize_by_model(services: Services, args: Args) -> None:
    from timer_service.summarizers.openai_model import OpenAISummarizer  # noqa: PLC0415 - slow

    model = OpenAISummarizer(api_key="k", base_url=os.environ["KILL_POINTS_MODEL"], model="m")
    worker = SummaryWorker(services.database, model, ExtractiveSummarizer())
    worker.summarize(SessionId(UUID(args["session"])), 1, 0)


def _prepare_told(world: World) -> Args:
    world.service.on_closed(CALLBACK)
    args = _prepare_closed(world)
    run = world.read("SELECT callback_id FROM callback_runs")[0]
    return {**args, "callback": str(run["callback_id"])}


def _call_back(_services: Services, args: Args) -> None:
    call_back(args["session"], args["callback"], 1)


# webhooks taken into the spool while Postgres is away, and replayed when it is back


def _prepare_spooling(world: World) -> Args:
    world.record(_message("first", DANA))
    pass_time(world, 300)
    return _args(world, "first", *_CAME_AGO_S, key=world.encryption_key)


_CAME_AGO_S = {"visit": 2 * GAP_S, "second": 20}
_NOBODY = "postgresql://nobody@127.0.0.1:1/nothing"
_TRIES = 3


def _spool_and_replay(services: Services, args: Args) -> None:
    """Be a web process that takes in while Postgres is away, and replays when it is back.

    Raises:
        SpoolFull: the gateway was refused again and again, or not all could be replayed.
    """
    database, follow_up = services.database, services.intake._follow_up
    spool = Spool(Path(args["files"]) / "spool")
    announcements = SpoolAnnouncements(
        database,
        services.live_chats._client,
        steady_s=lambda: 0.0,  # or a slow machine would read others' announcements more often
    )
    keeper = SpoolKeeper(
        spool,
        intake=Intake(
            database, follow_up, held_after=lambda: announcements.held_after(but=spool.id)
        ),
        database=database,
        announcements=announcements,
        directory=ConnectionDirectory(database, SecretBox([args["key"]])),
    )
    try:
        _bring_all(Intake(Database.for_requests(_NOBODY), follow_up), spool, keeper, args)
        _replay(keeper, spool)
    finally:
        spool.close()


def _bring_all(intake: Intake, spool: Spool, keeper: SpoolKeeper, args: Args) -> None:
    """Be a gateway: bring each message until it is acknowledged, and no more after that."""
    connection = KnownConnection(
        ConnectionId(UUID(args["connection"])), BusinessId(UUID(int=0)), META, "", None, {}
    )
    acknowledged = Path(args["files"]) / "acknowledged"
    acknowledged.touch()
    for name, ago_s in _CAME_AGO_S.items():
        for _ in range(_TRIES):
            if name in acknowledged.read_text().split():
                break
            delivery = Delivery(META, intake, spool, keeper)
            delivery._received_at -= timedelta(seconds=ago_s)
            delivery.add(connection, _message(name, DANA))
            with suppress(ServiceUnavailable):
                delivery.hand_over()
                with acknowledged.open("a") as lines:
                    lines.write(f"{name}\n")
        else:
            raise SpoolFull(f"{name} was refused")


def _replay(keeper: SpoolKeeper, spool: Spool) -> None:
    """Be the thread that keeps the spool, until nothing is in it and that is said."""
    for _ in range(_TRIES):
        with suppress(TimerServiceError):
            keeper.keep_once(Event())
            if not keeper._may_stand and not spool.is_waiting:
                return
    raise SpoolFull("something waits")


def _check_spooled(world: World, args: Args) -> Iterator[str]:
    rows = world.read(
        "SELECT array_agg(provider_message_id ORDER BY placed_at) AS names "
        "FROM messages GROUP BY session_id"
    )
    found = sorted(row["names"] for row in rows)
    if found != [["first", "second"], ["visit"]]:
        yield f"the sessions are {found}"
    if world.spools.read():
        yield "a spool is announced"
    spool = Spool(Path(args["files"]) / "spool")
    try:
        state = spool.state()
        if state.waiting or state.parked:
            yield f"{state.waiting} wait in the spool, {state.parked} are set aside"
    except SpoolFull as error:
        yield str(error)
    finally:
        spool.close()


# a program has a message sent, and asks again with the same reference until it is answered


def _prepare_line(world: World) -> Args:
    values = {"base_url": os.environ[GATEWAY_URL], "secrets": {"access_token": "token"}}
    world.administration.change_connection(world.business_id, world.connection_id, values)
    world.record(_message("first", DANA))
    return _args(world, "first", business=str(world.business_id))


def _queue(services: Services, args: Args) -> object:
    outbox = Outbox(services.database, services.intake, services.intake._follow_up)
    new = MessageToSend(
        connection_id=UUID(args["connection"]), to=DANA.phone, text="It is.", client_ref="order-1"
    )
    return outbox.send(BusinessId(UUID(args["business"])), new)


def taken(args: Args) -> list[str]:
    """Return the ids of ours that the gateway took, each as often as it took it."""
    file = Path(args["files"]) / TAKEN_FILE
    return file.read_text().split() if file.exists() else []


def _sent(world: World) -> list[tuple[str, str]]:
    rows = world.read(
        "SELECT m.id, m.status FROM messages m JOIN sends s ON s.message_id = m.id ORDER BY m.id"
    )
    return [(str(row["id"]), row["status"]) for row in rows]


def _check_queued(world: World, args: Args) -> Iterator[str]:
    sent = _sent(world)
    if [status for _, status in sent] != ["sent"]:
        yield f"expected one message that is sent, found {sent}"
    yield from _check_sent(world, args)


# a worker sends it


def _prepare_queued(world: World) -> Args:
    args = _prepare_line(world)
    _queue(world, args)
    ((message_id, _),) = _sent(world)
    world.queue_redis.flushdb()  # the worker has the job
    return {**args, "message": message_id}


def _send(_services: Services, args: Args) -> None:
    send_message(args["message"], 1)


def _check_sent(world: World, args: Args) -> Iterator[str]:
    """Say what is wrong while nobody but the worker has said anything."""
    for message_id, status in _sent(world):
        times = taken(args).count(message_id)
        if times > 1:
            yield f"a message was sent {times} times"
        if status not in {"sent", "unknown"}:
            yield f"a message is {status} when everybody has done their work"
        if status == "sent" and times == 0:
            yield "a message is lost: it says it was sent"


def _end_sent(world: World, args: Args) -> Iterator[str]:
    """Let the gateway tell of what it took, and a person give up the rest."""
    outbox = Outbox(world.database, world.intake, world.follow_up)
    for message_id, status in _sent(world):
        if message_id in taken(args):
            told = DeliveryStatus(
                provider_message_id=f"wamid.{message_id}",
                status=messages.Delivery.DELIVERED,
                message_id=UUID(message_id),
            )
            world.record(told)
        elif status == "unknown":
            outbox.decide(world.business_id, UUID(message_id), Decision.FAILED)
    for _, status in _sent(world):
        if status not in {"delivered", "failed"}:
            yield f"a message is {status} for good"


def work_off(_services: Services, args: Args) -> None:
    """Run jobs by their ids, each twice: every job may run twice."""
    for job_id in args["jobs"]:
        kind, *rest, attempt = job_id.split("_")
        for _ in range(2):
            if kind == "summarize":
                summarize_session(rest[0], int(attempt))
            elif kind == "send":
                send_message(rest[0], int(attempt))
            else:
                call_back(rest[0], rest[1], int(attempt))


SCENARIOS = {
    "first_message": Scenario(_prepare_nothing, _write_first, repeats=True),
    "open_chat": Scenario(_prepare_chat, _write_second, repeats=True),
    "overdue_chat": Scenario(_prepare_overdue, _write_batch, repeats=True, check=_check_overdue),
    "merge": Scenario(_prepare_two_contacts, _write_as_both, repeats=True, check=_check_merged),
    "complete": Scenario(_prepare_open, _complete, repeats=True, check=_check_completed),
    "claim_and_close": Scenario(_prepare_due, _claim_and_close, check=_check_due),
    "sweep": Scenario(_prepare_untidy, _sweep),
    "rebuild": Scenario(_prepare_wiped, _rebuild),
    "summarize": Scenario(_prepare_closed, _summarize),
    "summarize_by_model": Scenario(_prepare_closed, _summarize_by_model),
    "callback": Scenario(_prepare_told, _call_back),
    "spool": Scenario(
        _prepare_spooling,
        _spool_and_replay,
        repeats=True,
        keeps_others_waiting=True,
        check=_check_spooled,
    ),
    "queue_message": Scenario(
        _prepare_line, _queue, repeats=True, check=_check_queued, end=_end_sent
    ),
    "send": Scenario(_prepare_queued, _send, check=_check_sent, end=_end_sent),
}
"""Every duty there is; a new one is a new line here."""

WORK_OFF = "work_off"
ACTS = {WORK_OFF: work_off, **{name: one.act for name, one in SCENARIOS.items()}}
