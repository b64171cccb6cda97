"""Brings a gateway's contacts in: asked for by people, done page by page by a job.

The row in ``contact_pulls`` is the truth; a page and its place in the row are one transaction, so a
page that comes twice counts once. It makes and names contacts and joins ids the gateway pairs; it
opens, closes and touches no session, and a name that is known is never replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection

from timer_service.connection_control import ConnectionControl
from timer_service.database import Database
from timer_service.errors import (
    ConfigurationError,
    Conflict,
    DatabaseBusy,
    GatewayFailed,
    GatewaysBusy,
    NotFound,
)
from timer_service.follow_up import FollowUp, Outcome
from timer_service.ids import BusinessId, ConnectionId
from timer_service.intake import Intake
from timer_service.job_queue import HANG_GRACE_S, PULL_TIMEOUT_S, PullJob
from timer_service.messages import ContactIds, IdentityLink, StatusReason
from timer_service.providers.control import PeoplePage, Person
from timer_service.records import connections, contact_pulls, contacts
from timer_service.records.contact_pulls import PulledPage
from timer_service.resources import ContactsPull
from timer_service.text_cleaning import clean_text

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=PULL_TIMEOUT_S + HANG_GRACE_S)
"""Longer than any job lives: only a dead worker lets it end."""
LOST_AFTER = timedelta(seconds=30)
TRY_AGAIN_AFTER = timedelta(seconds=60)
MOST_REFUSALS = 5
MOST_TRIES = 3
_TRIED_AGAIN = frozenset(
    {
        StatusReason.UNREACHABLE,
        StatusReason.NO_ANSWER,
        StatusReason.RATE_LIMITED,
        StatusReason.GATEWAY_FAULT,
    }
)


@dataclass(frozen=True, slots=True)
class ContactsPuller:
    """Pulls contacts."""

    database: Database
    control: ConnectionControl
    intake: Intake
    follow_up: FollowUp

    def ask_for(self, business_id: BusinessId, connection_id: UUID) -> ContactsPull:
        """Begin a pull, or return the one that is under way.

        Raises:
            NotFound: there is no such connection.
            Conflict: its kind has no list of contacts, or it has no address.
        """
        self.control.require_device(business_id, connection_id)
        named = ConnectionId(connection_id)
        with self.database.transaction() as db:
            if not connections.hold(db, business_id, connection_id):
                raise NotFound(f"there is no connection {connection_id}")
            attempt = contact_pulls.ask_for(db, named, check_after=LOST_AFTER)
        if attempt is not None:
            self._enqueue(named, attempt)
        return self.latest(business_id, connection_id)

    def latest(self, business_id: BusinessId, connection_id: UUID) -> ContactsPull:
        """Return how far the latest pull of a connection got.

        Raises:
            NotFound: there was none, or there is no such connection.
        """
        with self.database.transaction() as db:
            row = contact_pulls.get(db, business_id, connection_id)
        if row is None:
            raise NotFound(f"no contacts were pulled of a connection {connection_id}")
        return ContactsPull.of(row)

    def pull_page(self, connection_id: ConnectionId, attempt: int) -> None:
        """Bring one page in and enqueue the next, if this attempt is still to be done."""
        with self.database.transaction() as db:
            started = contact_pulls.start(db, connection_id, attempt, lease=LEASE)
        if started is None:
            return
        business_id = BusinessId(started["business_id"])
        try:
            page = self.control.people(connection_id, started["cursor"])
        except GatewayFailed as error:
            is_final = started["refusals"] + 1 >= MOST_REFUSALS
            self._give_up(connection_id, attempt, StatusReason(error.reason), is_final=is_final)
            return
        except GatewaysBusy:
            self._give_up(connection_id, attempt, StatusReason.NO_ANSWER, is_final=False)
            return
        except (Conflict, NotFound, ConfigurationError):
            self._give_up(connection_id, attempt, StatusReason.SECRET_MISSING, is_final=True)
            return
        following = self._store(business_id, connection_id, attempt, page)
        if following is not None:
            self._enqueue(connection_id, following)

    def _store(
        self, business_id: BusinessId, connection_id: ConnectionId, attempt: int, page: PeoplePage
    ) -> int | None:
        # What the gateway pairs may be two customers so far, with chats open: intake joins them.
        links = [IdentityLink(contact=one.ids) for one in page.people if len(one.ids.pairs()) > 1]
        if links:
            self.intake.record(connection_id, links)
        for tries_left in reversed(range(MOST_TRIES)):
            try:
                with self.database.transaction() as db:
                    made, named = _bring_in(db, business_id, page.people)
                    counted = PulledPage(len(page.people), made, named, len(links), page.skipped)
                    return contact_pulls.turn_page(
                        db, connection_id, attempt, counted, page.cursor, check_after=LOST_AFTER
                    )
            except _ContactsMoved:
                if not tries_left:
                    raise DatabaseBusy("contacts are being merged") from None
        return None

    def _give_up(
        self,
        connection_id: ConnectionId,
        attempt: int,
        reason: StatusReason,
        *,
        is_final: bool,
    ) -> None:
        is_final = is_final or reason not in _TRIED_AGAIN
        with self.database.transaction() as db:
            if is_final:
                contact_pulls.fail(db, connection_id, attempt, reason.value)
            else:
                contact_pulls.put_off(db, connection_id, attempt, check_after=TRY_AGAIN_AFTER)
        log.warning(
            "contacts_not_pulled",
            connection_id=str(connection_id),
            reason=reason.value,
            is_final=is_final,
        )

    def _enqueue(self, connection_id: ConnectionId, attempt: int) -> None:
        outcome = Outcome()
        outcome.want(PullJob(connection_id, attempt))
        self.follow_up.run(outcome)


class _ContactsMoved(Exception):
    """A contact was merged into another while it was looked up."""


def _bring_in(db: Connection, business_id: BusinessId, people: Sequence[Person]) -> tuple[int, int]:
    """Make and name contacts; return how many were made and how many named."""
    by_ids: dict[tuple[BusinessId, ContactIds], str | None] = {}
    for one in people:
        by_ids[business_id, one.ids] = by_ids.get((business_id, one.ids)) or one.name
    if not by_ids:
        return 0, 0
    made = len(by_ids) - len(contacts.known_people(db, by_ids))
    owners = contacts.find_or_create(db, list(by_ids)).owners
    locked = contacts.lock(db, owners.values())
    if locked is None:
        raise _ContactsMoved
    for person, name in by_ids.items():
        contact = locked[owners[person]]
        if name and not contact.name:
            contact.name = clean_text(name)
    named = [contact for contact in locked.values() if contact.is_changed]
    if named:
        contacts.save(db, named)
    return made, len(named)
