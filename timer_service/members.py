"""Who belongs to a business, and how they come to: by a link that works once, for a week.

The console and the shell commands call this. There is no mail here: whoever invites hands the link
over. Who has an account accepts with its password, so a link alone opens nobody's other businesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError

from timer_service.database import Database
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.ids import BusinessId, new_id
from timer_service.messages import MemberRole
from timer_service.passwords import Passwords
from timer_service.people import (
    SIGNED_IN_FOR,
    People,
    digest_of_token,
    new_token,
    read_email,
)
from timer_service.records import businesses, members, people

log = structlog.get_logger(__name__)

INVITATION_LASTS = timedelta(days=7)
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who belongs to a business."""

    id: UUID
    name: str
    email: str
    role: MemberRole
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation nobody has accepted yet."""

    id: UUID
    email: str
    role: MemberRole
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a link invites to. ``has_account``: it is accepted with that account's password."""

    business_id: BusinessId
    business_name: str
    locale: str
    email: str
    role: MemberRole
    has_account: bool


class Members:
    """Manages who belongs to which business."""

    def __init__(
        self, database: Database, *, accounts: People, passwords: Passwords, public_url: str
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._passwords = passwords
        self._public_url = public_url.rstrip("/")

    def members_of(self, business_id: BusinessId) -> Sequence[Member]:
        """Return who belongs to a business, by name."""
        with self._database.transaction() as db:
            rows = members.list_all(db, business_id)
        return [
            Member(row["id"], row["name"], row["email"], MemberRole(row["role"]), row["seen_at"])
            for row in rows
        ]

    def invited_to(self, business_id: BusinessId) -> Sequence[Invited]:
        """Return the invitations that hold, newest first."""
        with self._database.transaction() as db:
            rows = members.list_invitations(db, business_id)
        return [
            Invited(row["id"], row["email"], MemberRole(row["role"]), row["ends_at"])
            for row in rows
        ]

    def invite(self, business_id: BusinessId, email: str, role: MemberRole) -> str:
        """Return the link by which somebody may join, once; the one before is void.

        Raises:
            InvalidInput: not an e-mail address.
            Conflict: somebody with this address belongs to the business already.
            NotFound: there is no such business.
        """
        token = new_token()
        known_as = read_email(email)
        with self._database.transaction() as db:
            if businesses.get(db, business_id) is None:
                raise NotFound(f"there is no business {business_id}")
            if any(row["email"] == known_as for row in members.list_all(db, business_id)):
                raise Conflict("somebody with this address belongs to the business already")
            values = {
                "id": new_id(),
                "business_id": business_id,
                "email": known_as,
                "role": role.value,
                "digest": digest_of_token(token),
            }
            members.put_invitation(db, values, INVITATION_LASTS)
        return f"{self._public_url}/invitation/{token}"

    def withdraw(self, business_id: BusinessId, invitation_id: UUID) -> None:
        """Make an invitation void.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            if not members.withdraw_invitation(db, business_id, invitation_id):
                raise NotFound(f"there is no invitation {invitation_id}")

    def invitation(self, token: str) -> Invitation:
        """Return what a link invites to.

        Raises:
            NotFound: it was used or withdrawn, or is too old.
        """
        with self._database.transaction() as db:
            found = members.find_invitation(db, digest_of_token(token))
        if found is None:
            raise NotFound("this invitation was used or withdrawn, or is too old")
        return Invitation(**{**found, "role": MemberRole(found["role"])})

    def join(self, token: str, *, name: str, password: str) -> str:
        """Accept an invitation with a new account; return a sign-in's token.

        Raises:
            NotFound: the invitation does not hold any more.
            InvalidInput: no name; `WeakPassword`: the password is not good enough. The
                invitation still holds.
            Conflict: the address has an account meanwhile.
        """
        invitation = self.invitation(token)
        name = " ".join(name.split())
        if not 0 < len(name) <= _LONGEST_NAME:
            raise InvalidInput(f"expected a name of at most {_LONGEST_NAME}", field="name")
        hashed = self._passwords.hash(password, email=invitation.email)
        person_id, signed_in = new_id(), new_token()
        try:
            with self._database.transaction() as db:
                taken = members.take_invitation(db, digest_of_token(token))
                if taken is None:
                    raise NotFound("this invitation was used or withdrawn, or is too old")
                values = {"id": person_id, "email": taken["email"], "name": name}
                people.add(db, {**values, "password_hash": hashed})
                members.put(db, taken["business_id"], person_id, taken["role"])
                people.begin_sign_in(
                    db, person_id, hashed, digest_of_token(signed_in), SIGNED_IN_FOR
                )
        except IntegrityError as error:
            if not isinstance(error.orig, UniqueViolation):
                raise
            raise Conflict("this address has an account meanwhile") from None
        log.info("person_joined", person_id=str(person_id))
        return signed_in

    def join_with_account(self, token: str, *, password: str, address: str) -> str | None:
        """Accept an invitation with the account there is; None for a wrong password.

        Raises:
            NotFound: the invitation does not hold any more.
            TooManyTries: somebody guesses.
        """
        invitation = self.invitation(token)
        signed_in = self._accounts.sign_in(invitation.email, password, address=address)
        if signed_in is None:
            return None
        person = self._accounts.who_has(signed_in)
        with self._database.transaction() as db:
            taken = members.take_invitation(db, digest_of_token(token))
            if taken is None or person is None or taken["email"] != person.email:
                raise NotFound("this invitation was used or withdrawn, or is too old")
            members.put(db, taken["business_id"], person.id, taken["role"])
        return signed_in

    def change_role(self, business_id: BusinessId, person_id: UUID, role: MemberRole) -> None:
        """Give a member another role, from the next request on.

        Raises:
            NotFound: no such member.
        """
        with self._database.transaction() as db:
            if not members.change_role(db, business_id, person_id, role.value):
                raise NotFound(f"there is no member {person_id}")

    def remove(self, business_id: BusinessId, person_id: UUID) -> None:
        """Take a member out; who belongs to nothing any more is forgotten.

        Raises:
            NotFound: no such member.
        """
        with self._database.transaction() as db:
            if not members.remove(db, business_id, person_id):
                raise NotFound(f"there is no member {person_id}")
        log.info("member_removed", business_id=str(business_id), person_id=str(person_id))
