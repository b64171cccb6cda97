"""Keeps the folder of files to what somebody may still see, and clears up after the dead.

A thread in each web process, of which one at a time works. What is wanted stands in the rows: the
file of a message that was erased or revoked, of a business that is gone, of an upload that has
ended, goes at the next turn, whoever took the row away and however.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Connection

from timer_service.clock import epoch_s
from timer_service.database import Database
from timer_service.errors import TimerServiceError
from timer_service.media_files import Kept, MediaFiles, Shelf
from timer_service.records import media, uploads

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 30.0
MOST_AT_ONCE = 500
NEW_FOR_S = 300.0
"""So long an upload may be on the disk before its row is there."""


class MediaKeeper:
    """Cleans one folder; None: there is none."""

    def __init__(self, database: Database, files: MediaFiles | None, folder: Path | None) -> None:
        self._database = database
        self._files = files
        self._folder = folder

    def run(self, stop: threading.Event) -> None:
        """Clean until told to stop."""
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.keep_once()
            except (TimerServiceError, OSError) as error:
                log.warning("media_not_kept", cause=type(error).__name__)
            except Exception:
                log.exception("media_keeper_broke")

    def keep_once(self) -> int:
        """Delete what nobody may see any more; return how many files.

        Raises:
            DatabaseUnavailable: nobody knows what is wanted; what is left is left.
        """
        if self._files is None or self._folder is None or not self._folder.exists():
            return 0
        descriptor = os.open(self._folder / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        else:
            return self._clean(self._files)
        finally:
            os.close(descriptor)

    def _clean(self, files: MediaFiles) -> int:
        removed = files.clear_dead_drafts()
        removed += self._remove_unwanted(files, Shelf.CACHE, media.still_wanted)
        with self._database.transaction() as db:
            uploads.delete_ended(db, limit=MOST_AT_ONCE)
        removed += self._remove_unwanted(
            files, Shelf.UPLOADS, uploads.still_there, older_than_s=NEW_FOR_S
        )
        if removed:
            log.info("media_removed", files=removed)
        return removed

    def _remove_unwanted(
        self,
        files: MediaFiles,
        shelf: Shelf,
        ask: Callable[[Connection, Sequence[UUID]], set[UUID]],
        *,
        older_than_s: float = 0.0,
    ) -> int:
        removed = 0
        before_s = epoch_s() - older_than_s
        found = (one for one in files.kept(shelf) if one.used_at_s <= before_s)
        for some in _batches(found):
            with self._database.transaction() as db:
                wanted = ask(db, [one.id for one in some])
            for one in some:
                if one.id not in wanted:
                    files.remove(shelf, one.id)
                    removed += 1
        return removed


def _batches(found: Iterator[Kept]) -> Iterator[list[Kept]]:
    while some := list(islice(found, MOST_AT_ONCE)):
        yield some
