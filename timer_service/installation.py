"""What is fixed for the life of an installation, checked by every process as it starts."""

from __future__ import annotations

from timer_service.access import digest_of, make_key
from timer_service.database import Database
from timer_service.errors import ConfigurationError
from timer_service.records import access


def check_shards(database: Database, shards: int) -> None:
    """Record how many shards there are at the first start; hold later ones to it.

    Raises:
        ConfigurationError: the setting changed: live keys would be looked for in the wrong place.
    """
    with database.transaction() as db:
        access.make_install(db, shards=shards)
        install = access.read_install(db)
    if install is not None and install["shards"] != shards:
        raise ConfigurationError(
            f"TIMER_SHARDS is {shards}, but this installation was made with {install['shards']}: "
            "it is fixed at install, set it back"
        )


def make_admin_key(database: Database) -> str | None:
    """Make the admin key where none was configured or made before; it is shown this once."""
    key = make_key("tsa")
    with database.transaction() as db:
        return key if access.set_admin_key(db, digest_of(key)) else None
