"""Passwords: which ones are good enough, how they are hashed, and whether one is the right one.

`people` calls this, never within a transaction: a hash takes a tenth of a second and 64 MiB (Argon2
id by argon2-cffi's defaults, which are RFC 9106's for little memory), so few are made at once.
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from timer_service.errors import InvalidInput

SHORTEST = 12
LONGEST = 200
_FEWEST_CHARACTERS = 5
_AT_ONCE = 2

STAND_IN = (
    "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA"
    "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
"""No password's hash; checking one against it takes as long as against a real one."""


class Weakness(StrEnum):
    """What is wrong with a password somebody chose."""

    SHORT = "short"
    LONG = "long"
    SIMPLE = "simple"
    LIKE_EMAIL = "like_email"


class WeakPassword(InvalidInput):
    """A password that is too easy to guess, or too long to read."""

    def __init__(self, weakness: Weakness) -> None:
        super().__init__(
            f"expected {SHORTEST} to {LONGEST} characters, not all alike and not the e-mail "
            f"address; this one is: {weakness.value}",
            field="password",
        )
        self.weakness = weakness


class Passwords:
    """Hashes and checks passwords. Thread-safe."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._turns = BoundedSemaphore(_AT_ONCE)

    def hash(self, password: str, *, email: str) -> str:
        """Return what is stored of a password somebody chose.

        Raises:
            WeakPassword: it is not good enough.
        """
        weakness = _weakness_of(_normal(password), email)
        if weakness is not None:
            raise WeakPassword(weakness)
        return self._hash(password)

    def is_right(self, password: str, stored: str | None) -> bool:
        """Tell whether this is the password; it takes as long where there is none."""
        if len(password) > LONGEST:
            password = ""
        try:
            with self._turns:
                self._hasher.verify(stored or STAND_IN, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def hash_anew(self, password: str, stored: str) -> str | None:
        """Return the right password hashed as it is done now; None where it is already."""
        return self._hash(password) if self._hasher.check_needs_rehash(stored) else None

    def _hash(self, password: str) -> str:
        with self._turns:
            return self._hasher.hash(_normal(password))


def _normal(password: str) -> str:
    """Make one of the ways in which keyboards write the same letters."""
    return unicodedata.normalize("NFKC", password)


def _weakness_of(password: str, email: str) -> Weakness | None:
    if len(password) < SHORTEST:
        return Weakness.SHORT
    if len(password) > LONGEST:
        return Weakness.LONG
    folded = password.casefold()
    if len(set(folded)) < _FEWEST_CHARACTERS:
        return Weakness.SIMPLE
    if email in folded or folded in email:
        return Weakness.LIKE_EMAIL
    return None
