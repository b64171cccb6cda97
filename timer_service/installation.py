"""What every process makes sure of as it starts: the schema, and what is fixed at install."""

from __future__ import annotations

import threading

import structlog

from timer_service.access import digest_of, make_key
from timer_service.database import Database
from timer_service.errors import ConfigurationError, DatabaseUnavailable
from timer_service.migrate import known_revisions
from timer_service.records import access
from timer_service.records.schema_version import read_revision
from timer_service.settings import Settings

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5


def wait_for_schema(database: Database) -> bool:
    """Wait until Postgres answers with this program's schema or a newer one; was it necessary?

    So the parts of a deployment may be started in any order, and new ones before `migrate` is done.
    """
    pause, known = threading.Event(), known_revisions()
    waits_for = None
    while (wanted := _wanted_of(database, known)) is not None:
        if wanted != waits_for:
            log.warning("waiting_to_start", wanted=wanted)
        waits_for = wanted
        pause.wait(LOOK_EVERY_S)
    return waits_for is not None


def _wanted_of(database: Database, known: list[str]) -> str | None:
    try:
        with database.transaction() as db:
            revision = read_revision(db)
    except DatabaseUnavailable:
        return "Postgres, which does not answer"
    if revision is None or revision in known[1:]:
        return f"the schema is {revision or 'not there'}: run timer-service migrate"
    return None


class Installation:
    """What a web worker makes sure of before it serves, for Postgres may be there later than it.

    ``waits_for`` says what is missing; None from the beginning, for a program that mounts the
    application in a server of its own looks after its installation itself.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self.waits_for: str | None = None

    def check_once(self) -> str | None:
        """Look for what is missing; return an admin key to show where one was made just now.

        Raises:
            ConfigurationError: what there is does not fit these settings; ``waits_for`` says so.
        """
        wanted = _wanted_of(self._database, known_revisions())
        key = None
        if wanted is None:
            try:
                check_shards(self._database, self._settings.shards)
                key = make_admin_key(self._database) if self._settings.admin_key is None else None
            except ConfigurationError as error:
                self.waits_for = str(error)
                raise
            except DatabaseUnavailable:
                wanted = "Postgres, which does not answer"
        if wanted != self.waits_for and wanted is not None:
            log.warning("waiting_to_serve", wanted=wanted)
        self.waits_for = wanted
        return key


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
