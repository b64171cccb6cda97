"""People who sign in to the console: by e-mail and password, for a while, in a browser.

The console calls this. A sign-in is a row that can be ended at any time; the browser holds a random
token, the row its digest. Whoever guesses is told nothing, not even whether there is an account,
and is soon made to wait: tries are counted in Postgres, so all processes count together and nobody
signs in where they cannot be counted.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, InvalidInput, NotFound, TooManyTries
from timer_service.ids import BusinessId
from timer_service.messages import MemberRole
from timer_service.passwords import Passwords
from timer_service.records import members, people

log = structlog.get_logger(__name__)

IDLE_FOR = timedelta(hours=12)
"""Who opens no page for so long is signed out."""
SIGNED_IN_FOR = timedelta(days=7)
"""By then everybody signs in again."""
NOTED_EVERY = timedelta(minutes=1)
"""How often it is noted that somebody is there."""
RESET_LASTS = timedelta(days=1)
TRIES_WINDOW = timedelta(minutes=15)
TRIES_OF_AN_ACCOUNT = 10
TRIES_FROM_AN_ADDRESS = 50
"""How many tries are read within the window. Many people may share an address."""

_LONGEST_EMAIL = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"]+@[^@\s\x00-\x1f<>\".]+(\.[^@\s\x00-\x1f<>\".]+)*")


@dataclass(frozen=True, slots=True)
class Membership:
    """A business a person belongs to."""

    business_id: BusinessId
    business_name: str
    role: MemberRole


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has signed in."""

    id: UUID
    email: str
    name: str
    memberships: tuple[Membership, ...]

    def role_in(self, business_id: UUID) -> MemberRole | None:
        """Return what the person is in a business; None for nothing."""
        found = (one.role for one in self.memberships if one.business_id == business_id)
        return next(found, None)


def read_email(text: str) -> str:
    """Return an e-mail address as it is stored, in small letters.

    Raises:
        InvalidInput: it is none.
    """
    email = text.strip().lower()
    if len(email) > _LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise InvalidInput("expected an e-mail address such as dana@shop.example", field="email")
    return email


def new_token() -> str:
    """Make a token of 256 random bits, for a cookie or a link."""
    return secrets.token_urlsafe(32)


def digest_of_token(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


class People:
    """Signs people in and out, and keeps their passwords."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    def is_there_any(self) -> bool:
        """Tell whether anybody has an account yet."""
        with self._database.transaction() as db:
            return people.is_there_any(db)

    def sign_in(self, email: str, password: str, *, address: str) -> str | None:
        """Return a token for the browser; None where the two do not fit.

        Raises:
            TooManyTries: for this account, or from this address.
            DatabaseUnavailable: nobody can sign in.
        """
        try:
            known_as = read_email(email)
        except InvalidInput:
            known_as = ""
        self.count_try(known_as, address)
        with self._database.transaction() as db:
            found = people.find(db, known_as)
        stored = found["password_hash"] if found is not None else None
        if not self._passwords.is_right(password, stored) or found is None or stored is None:
            log.info("sign_in_refused")
            return None
        anew = self._passwords.hash_anew(password, stored)
        token = new_token()
        with self._database.transaction() as db:
            people.forget_tries(db, _subject_of("account", known_as))
            if anew is not None:
                people.rehash(db, found["id"], stored, anew)
            is_in = people.begin_sign_in(
                db, found["id"], anew or stored, digest_of_token(token), SIGNED_IN_FOR
            )
        if not is_in:
            return None
        log.info("signed_in", person_id=str(found["id"]))
        return token

    def count_try(self, email: str, address: str) -> None:
        """Count a try to prove who one is, before it is read.

        Raises:
            TooManyTries: for this account, or from this address.
        """
        limits = {
            _subject_of("account", email): TRIES_OF_AN_ACCOUNT,
            _subject_of("address", address): TRIES_FROM_AN_ADDRESS,
        }
        with self._database.transaction() as db:
            counted = people.count_tries(db, list(limits), TRIES_WINDOW)
        for one, limit in zip(counted, limits.values(), strict=True):
            if one["tries"] > limit:
                log.warning("sign_in_limited", limit=limit)
                raise TooManyTries(max(1.0, float(one["left_s"])))

    def who_has(self, token: str, *, is_a_visit: bool = True) -> Person | None:
        """Return who is signed in with this token. What a page fetches by itself is no visit.

        Raises:
            DatabaseUnavailable: it could not be looked up.
        """
        digest = digest_of_token(token)
        with self._database.transaction() as db:
            found = people.find_sign_in(db, digest, idle=IDLE_FOR, noted_every=NOTED_EVERY)
            if found is None:
                return None
            theirs = members.businesses_of(db, found["id"])
        if found["is_stale"] and is_a_visit:
            with suppress(DatabaseUnavailable), self._database.transaction() as db:
                people.note_seen(db, digest)
        memberships = tuple(
            Membership(row["id"], row["name"], MemberRole(row["role"])) for row in theirs
        )
        return Person(found["id"], found["email"], found["name"], memberships)

    def sign_out(self, token: str) -> None:
        """End this browser's sign-in."""
        with self._database.transaction() as db:
            people.end_sign_in(db, digest_of_token(token))

    def sign_out_elsewhere(self, person_id: UUID, token: str) -> int:
        """End the sign-ins of all other browsers; return how many those were."""
        with self._database.transaction() as db:
            return people.end_sign_ins(db, person_id, but=digest_of_token(token))

    def change_password(
        self, person: Person, old: str, new: str, *, token: str, address: str
    ) -> bool:
        """Change a password and sign out all other browsers; False where the old one is wrong.

        Raises:
            WeakPassword: the new one is not good enough.
            TooManyTries: somebody guesses the old one.
        """
        self.count_try(person.email, address)
        with self._database.transaction() as db:
            found = people.get(db, person.id)
        if found is None or not self._passwords.is_right(old, found["password_hash"]):
            return False
        hashed = self._passwords.hash(new, email=person.email)
        with self._database.transaction() as db:
            people.forget_tries(db, _subject_of("account", person.email))
            if not people.change_password(db, person.id, found["password_hash"], hashed):
                return False
            people.end_sign_ins(db, person.id, but=digest_of_token(token))
        log.info("password_changed", person_id=str(person.id))
        return True

    def make_reset(self, email: str) -> str:
        """Return the token of a link by which somebody may choose a new password, once.

        For whoever stands above all businesses: it opens every business the person belongs to.

        Raises:
            NotFound: nobody has this address.
        """
        token = new_token()
        with self._database.transaction() as db:
            found = people.find(db, read_email(email))
            if found is None:
                raise NotFound("nobody has an account with this address")
            people.put_reset(db, found["id"], digest_of_token(token), RESET_LASTS)
        return token

    def email_of_reset(self, token: str) -> str:
        """Return whose link this is.

        Raises:
            NotFound: it was used, or is too old.
        """
        with self._database.transaction() as db:
            found = people.find_reset(db, digest_of_token(token))
        if found is None:
            raise NotFound("this link was used, or is too old")
        email: str = found["email"]
        return email

    def reset_password(self, token: str, password: str) -> str:
        """Use a link up: set the password, sign out every browser, and return a new sign-in.

        Raises:
            NotFound: it was used, or is too old.
            WeakPassword: the password is not good enough; the link still holds.
        """
        email = self.email_of_reset(token)
        hashed = self._passwords.hash(password, email=email)
        signed_in = new_token()
        with self._database.transaction() as db:
            person_id = people.take_reset(db, digest_of_token(token))
            if person_id is None:
                raise NotFound("this link was used, or is too old")
            people.set_password(db, person_id, hashed)
            people.end_sign_ins(db, person_id)
            people.forget_tries(db, _subject_of("account", email))
            people.begin_sign_in(db, person_id, hashed, digest_of_token(signed_in), SIGNED_IN_FOR)
        log.info("password_reset", person_id=str(person_id))
        return signed_in


def _subject_of(kind: str, name: str) -> bytes:
    """Return what tries are counted under: no address stands in the table."""
    return hashlib.sha256(f"{kind} {name}".encode()).digest()
