"""Tells the service's whole story once: conversations arrive, go quiet, are closed and summarised.

`timer-service demo` calls ``tell_story`` when the web process is up. Everything goes over HTTP: the
JSON API with the admin key, and webhooks proven as the gateways prove theirs. It reads neither
Redis nor Postgres.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx2
from rich.console import Console
from rich.text import Text

from timer_service import clock
from timer_service.demo.api import DemoApi, SessionSeen, UnexpectedAnswer
from timer_service.demo.conversations import (
    Conversation,
    Person,
    packaged_conversations,
    read_conversations,
)
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.demo.gateways import demo_gateways
from timer_service.demo.pacing import LIFE_IDLE_GAP_S, Cue, pace
from timer_service.demo.report import Expected, find_problems, is_settled, print_report
from timer_service.demo.timeline import Timeline
from timer_service.errors import InvalidInput, TimerServiceError
from timer_service.replay import format_gap

BUSINESS_NAME = "Café Carmel"
_PACKAGED_SHOWN = 5
_MOST_SESSIONS = 5
"""How many sessions of one conversation in a file are played; an export may hold hundreds."""
_POLL_S = 0.1
_PATIENCE_S = 30.0
"""How long after the last deadline the closes and the summaries may take."""
_REDELIVERED_TURN = 1
_OK = 200


def tell_story(
    base_url: str,
    admin_key: str,
    *,
    speed: float,
    conversation: Path | None,
    idle_gap_s: int,
    console: Console,
) -> int:
    """Play the packaged conversations, or those of a file, and print what the service makes of it.

    Returns the exit code: 0 if every session was closed by silence, none early, each with one
    summary, and the active count came back to 0; else 1 with the reason printed.
    """
    try:
        if not 0 < speed <= 1000:  # noqa: PLR2004
            raise InvalidInput("the speed is a number above 0, at most 1000")
        chosen = (
            packaged_conversations()[:_PACKAGED_SHOWN]
            if conversation is None
            else read_conversations(conversation)
        )
        with DemoApi(base_url, admin_key) as api:
            problems = _Story(api, chosen, speed, idle_gap_s, console).tell()
    except (TimerServiceError, httpx2.HTTPError) as error:
        problems = [str(error) or type(error).__name__]
    for problem in problems:
        console.print(Text(f"The demo failed: {problem}", style="bold red"), soft_wrap=True)
    return 1 if problems else 0


@dataclass(frozen=True, slots=True)
class _Part:
    """One conversation, ready to be played."""

    person: Person
    gateway: Gateway
    path: str
    cues: tuple[Cue, ...]

    def expected(self) -> Expected:
        counts: list[int] = []
        for cue in self.cues:
            if cue.opens_session:
                counts.append(0)
            counts[-1] += 1
        return Expected(self.gateway.provider, self.person.phone, tuple(counts))


class _Story:
    def __init__(
        self,
        api: DemoApi,
        conversations: Sequence[Conversation],
        speed: float,
        idle_gap_s: int,
        console: Console,
    ) -> None:
        self._api = api
        self._conversations = conversations
        self._speed = speed
        self._idle_gap_s = idle_gap_s
        self._console = console
        self._timeline = Timeline(console)
        self._stop = threading.Event()

    def tell(self) -> list[str]:
        """Play everything and return what went wrong."""
        business_id = self._api.add_business(
            {"name": BUSINESS_NAME, "idle_gap_s": self._idle_gap_s, "country": "IL"}
        )
        self._timeline.say(
            f"{BUSINESS_NAME}: a silence of {format_gap(self._idle_gap_s)} ends a conversation "
            f"here, in life {format_gap(LIFE_IDLE_GAP_S)}; pauses are shorter to match."
        )
        parts = self._cast(business_id)
        expected = [part.expected() for part in parts]
        watcher = _Watcher(self._api, business_id, self._timeline)
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            try:
                plays = [
                    pool.submit(self._play, part, redelivers=index == 0)
                    for index, part in enumerate(parts)
                ]
                is_over = self._watch(watcher, plays, sum(len(e.message_counts) for e in expected))
            finally:
                self._stop.set()
        sessions = list(watcher.sessions.values())
        print_report(sessions, self._idle_gap_s, self._console)
        problems = find_problems(sessions, expected, watcher.active_count, self._idle_gap_s)
        if not is_over:
            problems.append(f"waited {self._patience_s():.0f} s after the last message, in vain")
        return problems

    def _cast(self, business_id: UUID) -> list[_Part]:
        gateways = demo_gateways(secrets.token_bytes(32))
        paths: dict[str, str] = {}
        parts = []
        for conversation in self._conversations:
            gateway = gateways[conversation.provider]
            if gateway.external_id not in paths:
                paths[gateway.external_id] = self._api.link(business_id, gateway).path
            person = conversation.cast[0]
            cues = pace(
                conversation.turns_with(person),
                idle_gap_s=self._idle_gap_s,
                speed=self._speed,
                starts_after_s=conversation.starts_after_s,
            )
            parts.append(_Part(person, gateway, paths[gateway.external_id], self._cut(cues)))
        return parts

    def _cut(self, cues: tuple[Cue, ...]) -> tuple[Cue, ...]:
        openings = [index for index, cue in enumerate(cues) if cue.opens_session]
        if len(openings) <= _MOST_SESSIONS:
            return cues
        self._timeline.say(
            f"This chat holds {len(openings)} conversations; the first {_MOST_SESSIONS} are played."
        )
        return cues[: openings[_MOST_SESSIONS]]

    def _play(self, part: _Part, *, redelivers: bool) -> None:
        provider = part.gateway.provider
        for index, cue in enumerate(part.cues):
            if cue.is_shortened:
                self._timeline.goes_quiet(provider, part.person, cue.turn.after_s, cue.pause_s)
            if self._stop.wait(cue.pause_s):
                return
            webhook = part.gateway.webhook(part.person, cue.turn, clock.utc_now())
            self._deliver(part, webhook)
            self._timeline.message(provider, part.person, cue.turn)
            if redelivers and index == min(_REDELIVERED_TURN, len(part.cues) - 1):
                self._deliver(part, webhook)
                self._timeline.redelivered(provider, part.person)

    def _deliver(self, part: _Part, webhook: Webhook) -> None:
        status = self._api.deliver(part.path, webhook)
        if status != _OK:
            raise UnexpectedAnswer(
                f"a {part.gateway.provider.value} webhook was answered {status}, expected {_OK}; "
                "see the web process's log"
            )

    def _watch(
        self, watcher: _Watcher, plays: Sequence[Future[None]], expected_sessions: int
    ) -> bool:
        """Look until all is over; False if that took too long."""
        gives_up_s: float | None = None
        while True:
            watcher.look_once()
            done = [play for play in plays if play.done()]
            for play in done:
                play.result()
            if len(done) == len(plays):
                if watcher.is_over(expected_sessions):
                    return True
                now_s = clock.monotonic_s()
                gives_up_s = gives_up_s or now_s + self._patience_s()
                if now_s > gives_up_s:
                    return False
            self._stop.wait(_POLL_S)

    def _patience_s(self) -> float:
        return self._idle_gap_s + _PATIENCE_S


@dataclass(slots=True)
class _Watcher:
    """Learns from the API what became of the conversations, and tells the timeline what changed."""

    api: DemoApi
    business_id: UUID
    timeline: Timeline
    sessions: dict[UUID, SessionSeen] = field(default_factory=dict)
    active_count: int = 0

    def look_once(self) -> None:
        """Ask once and report the differences."""
        count = self.api.active_chats_count(self.business_id)
        # Oldest first: the timeline should tell them in the order they began.
        for session in reversed(self.api.sessions(self.business_id)):
            before = self.sessions.get(session.id)
            self.sessions[session.id] = session
            if before is None:
                self.timeline.opened(session)
            if not session.is_open and (before is None or before.is_open):
                self.timeline.closed(session)
            if is_settled(session) and (before is None or not is_settled(before)):
                self.timeline.summarised(session)
        if count != self.active_count:
            self.active_count = count
            self.timeline.active(count)

    def is_over(self, expected_sessions: int) -> bool:
        """Whether all expected sessions are closed and summarised and nothing is active."""
        return (
            len(self.sessions) >= expected_sessions
            and all(map(is_settled, self.sessions.values()))
            and self.active_count == 0
        )
