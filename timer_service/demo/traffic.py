"""Keeps a demo business busy: three to eight chats active, new ones starting, others going quiet.

`timer-service up --demo` runs ``keep_talking`` beside the other processes. It speaks HTTP only, as
the gateways would, and like them delivers again what was not acknowledged. What the service sends
to its customers is taken by a `gateway_server` in the same process.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
from rich.console import Console
from rich.text import Text

from timer_service import clock
from timer_service.demo.api import DemoApi, Link, UnexpectedAnswer
from timer_service.demo.conversations import Conversation, Person, packaged_conversations
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.demo.gateway_server import GatewayServer, as_in_life
from timer_service.demo.gateways import demo_gateways
from timer_service.demo.pacing import Cue, pace
from timer_service.messages import ProviderName

BUSINESS_NAME = "Café Carmel (demo)"
_FEWEST, _MOST = 3, 8
_AWAY_S = 1.0
"""How long to wait before trying again what the service did not take."""
_TWILIO_SHARE = 0.3
_RETHINK_SHARE = 0.25
"""How often to consider starting a chat, in idle gaps."""


def keep_talking(base_url: str, admin_key: str, *, idle_gap_s: int, stop: threading.Event) -> None:
    """Keep conversations going until told to stop; prints the console's address once.

    Makes the demo business, or finds it again: ids and secrets follow from the admin key, so that
    a restart proves itself with what the connections already know. Survives the service being away,
    and makes anew what somebody deleted.
    """
    with (
        DemoApi(base_url, admin_key) as api,
        GatewayServer(course=as_in_life()) as server,
    ):
        shop = _prepare(api, admin_key, server, idle_gap_s, stop)
        console = Console()
        console.print(Text(f"{BUSINESS_NAME} is busy: watch it at {base_url}/"), soft_wrap=True)
        while shop is not None:
            _Traffic(api, shop, idle_gap_s, stop).run()
            shop = _prepare(api, admin_key, server, idle_gap_s, stop)


@dataclass(frozen=True, slots=True)
class _Line:
    """A number of the business: whose webhooks it brings, and what the service knows it as."""

    gateway: Gateway
    link: Link


@dataclass(frozen=True, slots=True)
class _Shop:
    business_id: UUID
    lines: dict[ProviderName, _Line]


def _prepare(
    api: DemoApi,
    admin_key: str,
    server: GatewayServer,
    idle_gap_s: int,
    stop: threading.Event,
) -> _Shop | None:
    """Return the business with its numbers, each of which may be sent by; None if told to stop."""
    while not stop.is_set():
        try:
            business_id = _find_or_make_business(api, idle_gap_s)
            lines = {}
            for name, one in demo_gateways(admin_key.encode()).items():
                link = api.link(business_id, one, base_url=server.url)
                gateway = one.at(link.webhook_url)
                server.serve(gateway, partial(_tell, api, link))
                lines[name] = _Line(gateway, link)
            return _Shop(business_id, lines)
        except (httpx2.HTTPError, UnexpectedAnswer):
            stop.wait(_AWAY_S)
    return None


def _tell(api: DemoApi, link: Link, url: str | None, webhook: Webhook) -> bool:
    """Post what a gateway tells of a message; tell whether it was acknowledged."""
    parts = urlsplit(url or link.webhook_url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        return api.deliver(path, webhook) == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _find_or_make_business(api: DemoApi, idle_gap_s: int) -> UUID:
    business_id = api.find_business(BUSINESS_NAME)
    if business_id is None:
        return api.add_business({"name": BUSINESS_NAME, "idle_gap_s": idle_gap_s, "country": "IL"})
    api.change_business(business_id, {"idle_gap_s": idle_gap_s})
    return business_id


class _Refused(Exception):
    """A webhook was refused for good: the connection is gone."""


@dataclass(order=True, slots=True)
class _Chat:
    """A conversation going on; ``next_s`` is when its next turn is due, or its silence over."""

    next_s: float
    tie: int
    person: Person = field(compare=False)
    line: _Line = field(compare=False)
    cues: Iterator[Cue] = field(compare=False)
    cue: Cue | None = field(compare=False)


class _Traffic:
    """The chats of one demo business, in one thread."""

    def __init__(
        self,
        api: DemoApi,
        shop: _Shop,
        idle_gap_s: int,
        stop: threading.Event,
    ) -> None:
        self._api = api
        self._shop = shop
        self._idle_gap_s = idle_gap_s
        self._stop = stop
        self._random = random.Random()  # noqa: S311 - variety, not secrecy
        self._conversations = packaged_conversations()
        self._chats: list[_Chat] = []
        self._ties = itertools.count()
        self._wanted = self._random.randint(_FEWEST, _MOST)

    def run(self) -> None:
        """Talk until told to stop, or until a connection is gone."""
        with suppress(_Refused):
            self._talk()

    def _talk(self) -> None:
        rethink_s = clock.monotonic_s()
        while not self._stop.is_set():
            now_s = clock.monotonic_s()
            if now_s >= rethink_s:
                rethink_s = now_s + self._rethink(now_s)
            while self._chats and self._chats[0].next_s <= now_s:
                self._advance(heapq.heappop(self._chats))
            next_s = min([rethink_s, *(chat.next_s for chat in self._chats[:1])])
            self._stop.wait(max(0.0, next_s - clock.monotonic_s()))

    def _rethink(self, now_s: float) -> float:
        """Start a chat if too few are active; return the seconds until the next thought."""
        if self._random.random() < _RETHINK_SHARE:
            self._wanted = self._random.randint(_FEWEST, _MOST)
        if len(self._chats) < self._wanted:
            self._start(now_s)
        if len(self._chats) < _FEWEST:
            return 0.0
        return self._idle_gap_s * _RETHINK_SHARE * self._random.uniform(0.5, 1.5)

    def _start(self, now_s: float) -> None:
        busy = {chat.person.phone for chat in self._chats}
        free = [
            (conversation, person)
            for conversation in self._conversations
            for person in conversation.cast
            if person.phone not in busy
        ]
        conversation, person = self._random.choice(free)
        cues = iter(self._vary(conversation, person))
        heapq.heappush(
            self._chats,
            _Chat(
                next_s=now_s,
                tie=next(self._ties),
                person=person,
                line=self._shop.lines[self._carrier(conversation.provider)],
                cues=cues,
                cue=next(cues),
            ),
        )

    def _carrier(self, provider: ProviderName) -> ProviderName:
        """Let what goes by WhatsApp's own API go by Twilio now and then, which offers the same."""
        if provider is ProviderName.META and self._random.random() < _TWILIO_SHARE:
            return ProviderName.TWILIO
        return provider

    def _vary(self, conversation: Conversation, person: Person) -> list[Cue]:
        """Pace a conversation; now and then the customer just stops answering."""
        speed = self._random.uniform(0.7, 1.3)
        turns = conversation.turns_with(person)
        return list(pace(turns, idle_gap_s=self._idle_gap_s, speed=speed))

    def _advance(self, chat: _Chat) -> None:
        """Deliver the turn that is due and put the chat back for its next, or for its silence."""
        if chat.cue is None or not self._deliver(chat, chat.cue):
            return
        chat.cue = next(chat.cues, None)
        # A chat that has said everything stays active until its silence has lasted the idle gap.
        pause_s = float(self._idle_gap_s) if chat.cue is None else chat.cue.pause_s
        chat.next_s = clock.monotonic_s() + pause_s
        heapq.heappush(self._chats, chat)

    def _deliver(self, chat: _Chat, cue: Cue) -> bool:
        """Deliver until acknowledged, as a gateway does; False if told to stop before that."""
        gateway, link = chat.line.gateway, chat.line.link
        if gateway.provider is ProviderName.TWILIO and not cue.turn.is_customers:
            return self._answer(chat, cue)
        webhook = gateway.webhook(chat.person, cue.turn, clock.utc_now())
        while not self._stop.is_set():
            try:
                status = self._api.deliver(link.path, webhook)
                if status == httpx2.codes.OK:
                    return True
                if httpx2.codes.is_client_error(status):
                    raise _Refused
            except httpx2.HTTPError:
                pass
            self._stop.wait(_AWAY_S)
        return False

    def _answer(self, chat: _Chat, cue: Cue) -> bool:
        """Have the service send an agent's answer, where nobody can give one from a phone."""
        text = cue.turn.text or "…"
        try:
            self._api.send(self._shop.business_id, chat.line.link, chat.person.phone, text)
        except UnexpectedAnswer:
            raise _Refused from None
        except httpx2.HTTPError:
            pass  # nobody types an answer twice
        return not self._stop.is_set()
