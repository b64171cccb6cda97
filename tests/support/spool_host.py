"""One host's spool and keeper, in a test's hands.

host = Host(world, folder)
host.hear("one", ago_s=30)
assert host.replay() == 1
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from threading import Event

from tests.support.builders import DANA, World
from timer_http.webhook_delivery import Delivery
from timer_service.connection_directory import ConnectionDirectory, KnownConnection
from timer_service.ids import ConnectionId
from timer_service.intake import Intake
from timer_service.messages import ContactIds, ProviderName
from timer_service.messages import Event as ChatEvent
from timer_service.spool import Spool
from timer_service.spool_announcements import SpoolAnnouncements
from timer_service.spool_replay import SpoolKeeper


class Host:
    """One host's spool and keeper in a world; times are given as seconds ago."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.spool = Spool(folder)
        announcements = SpoolAnnouncements(world.database, world.redis)

        def held_by_others() -> datetime | None:
            return announcements.held_after(but=self.spool.id)

        self.keeper = SpoolKeeper(
            self.spool,
            intake=Intake(world.database, world.follow_up, held_after=held_by_others),
            database=world.database,
            announcements=announcements,
            directory=ConnectionDirectory(world.database, world.secret_box),
        )
        self.intake = Intake(
            world.database,
            world.follow_up,
            held_after=held_by_others,
            held_here=self.keeper.held_after,
        )
        """What webhooks come in by."""

    def receive(self, ago_s: float, *events: ChatEvent) -> datetime:
        """Spool a webhook received so long ago, as if nobody could be told; return the instant."""
        received_at = self._instant(ago_s)
        self.spool.append(self.world.connection_id, events, received_at)
        return received_at

    def accept(self, text: str, ago_s: float) -> datetime:
        """Spool a message as web does before it is acknowledged; return the instant."""
        received_at = self._instant(ago_s)
        self.keeper.append(self.world.connection_id, [self.world.heard(text)], received_at)
        return received_at

    def deliver(self, *events: ChatEvent, connection_id: ConnectionId | None = None) -> bool:
        """Let a webhook come in; tell whether it was stored, and not spooled."""
        before = self.spool.state().waiting
        connection_id = connection_id or self.world.connection_id
        delivery = Delivery(ProviderName.META, self.intake, self.spool, self.keeper)
        for event in events:
            known = KnownConnection(
                connection_id, self.world.business_id, ProviderName.META, "", None, {}
            )
            delivery.add(known, event)
        delivery.hand_over()
        return self.spool.state().waiting == before

    def _instant(self, ago_s: float) -> datetime:
        with self.world.database.statements() as db:
            now: datetime = db.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return now - timedelta(seconds=ago_s)

    def hear(self, text: str, ago_s: float, contact: ContactIds = DANA) -> datetime:
        return self.receive(ago_s, self.world.heard(text, contact=contact))

    def announce(self) -> None:
        self.keeper._announce(self.spool)

    def replay(self) -> int:
        return self.keeper.keep_once(Event())


def texts_by_session(world: World) -> list[list[str]]:
    return [world.texts_of(one.id) for one in world.sessions()]
