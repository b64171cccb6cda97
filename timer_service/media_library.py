"""Opens the file of a message: from the disk, or from its gateway the first time it is asked for.

Called by the JSON API and the console. However many ask at one time, in whatever process, a file is
fetched once. Fetching goes on when nobody waits any more, so that a large file is there the next
time; a slow gateway takes a few turns, not all of them. It never asks for a file that nobody wants
to see, and writes nothing to Postgres.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

import structlog
from sqlalchemy import RowMapping

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import ConfigurationError, NotFound
from timer_service.ids import BusinessId
from timer_service.media_fetch import TOTAL_TIMEOUT_S, MediaFetcher
from timer_service.media_files import Draft, MediaFiles, Shelf
from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import Media, ProviderName
from timer_service.providers import MEDIA_SOURCES
from timer_service.providers.fetching import WantedFile
from timer_service.providers.sending import Account
from timer_service.records import media as media_records
from timer_service.records import uploads
from timer_service.secret_box import SecretBox

log = structlog.get_logger(__name__)

PATIENCE_S = 6.0
"""What a viewer waits for a gateway; whoever has said nothing after ten seconds is cut off."""
ASK_AGAIN_AFTER_S = 3
AT_ONCE = 8
AT_ONCE_OF_ONE = 3
"""Fetches of a process, and those of them for one business."""
MOST_FETCHES = 64
"""Fetches of a process that run or wait for their turn."""
MOST_VIEWERS = 64
"""Requests that wait, each of which holds one of the process's threads."""
REMEMBERED_FOR_S = 10.0
"""How long a gateway that failed over a file is not asked for it again."""
_MOST_REMEMBERED = 1000
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class MediaFile:
    """An open file, to be closed by whoever has it. ``id`` names its content for good."""

    id: UUID
    file: BinaryIO
    size_bytes: int
    type: str
    mime_type: str | None
    file_name: str | None


class MediaLibrary:
    """The files of one process's messages; None for ``files``: there is no folder for them."""

    def __init__(
        self,
        database: Database,
        *,
        secret_box: SecretBox,
        files: MediaFiles | None,
        fetcher: MediaFetcher,
        most_bytes: int,
    ) -> None:
        self._database = database
        self._secret_box = secret_box
        self._files = files
        self._fetcher = fetcher
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._running: dict[UUID, Future[None]] = {}
        self._failed: OrderedDict[UUID, tuple[MediaTrouble, float]] = OrderedDict()
        self._turns = _Turns()
        self._viewers = threading.BoundedSemaphore(MOST_VIEWERS)

    def open(self, business_id: BusinessId, message_id: UUID) -> MediaFile:
        """Open the file of a message.

        Raises:
            NotFound: the business has no such message, or it has no file that could be fetched.
            MediaTrouble: it cannot be had, or not yet.
        """
        with self._database.transaction() as db:
            row = media_records.find(db, business_id, message_id)
        if row is None:
            raise NotFound(f"message {message_id} has no file")
        if row["is_sent"] and row["upload_id"] is None:
            raise NotFound(f"the file of message {message_id} is where its sender said: media.url")
        if self._files is None:
            raise MediaTrouble(Reason.SWITCHED_OFF, "files need TIMER_MEDIA_DIR to be set")
        if row["is_sent"]:
            file = self._files.open(Shelf.UPLOADS, row["upload_id"])
            if file is None:
                raise MediaTrouble(Reason.GONE, "what was uploaded is kept for a day")
        else:
            file = self._cached_or_fetched(self._files, business_id, row)
        media = Media(**row["media"])
        return MediaFile(
            id=message_id,
            file=file,
            size_bytes=os.fstat(file.fileno()).st_size,
            type=row["type"],
            mime_type=media.mime_type,
            file_name=media.file_name,
        )

    def open_upload(self, upload_id: UUID) -> MediaFile | None:
        """Open an upload for a gateway that was given its address; None if it has ended."""
        with self._database.transaction() as db:
            row = uploads.get(db, upload_id)
        file = self._files.open(Shelf.UPLOADS, upload_id) if row and self._files else None
        if row is None or file is None:
            return None
        return MediaFile(
            id=upload_id,
            file=file,
            size_bytes=os.fstat(file.fileno()).st_size,
            type="file",
            mime_type=row["mime_type"],
            file_name=row["file_name"],
        )

    def _cached_or_fetched(
        self, files: MediaFiles, business_id: BusinessId, row: RowMapping
    ) -> BinaryIO:
        file = files.open(Shelf.CACHE, row["id"])
        if file is not None:
            return file
        if row["is_gone"]:
            raise MediaTrouble(Reason.GONE, "the connection it came by was deleted")
        self._wait_for(self._fetch(files, business_id, row))
        file = files.open(Shelf.CACHE, row["id"])
        if file is None:
            raise _not_yet()  # it had to give way already
        return file

    def _wait_for(self, fetch: Future[None]) -> None:
        if not self._viewers.acquire(blocking=False):
            raise _not_yet()
        try:
            fetch.result(PATIENCE_S)
        except TimeoutError:
            raise _not_yet() from None
        except MediaTrouble as error:
            raise _again(error) from None
        finally:
            self._viewers.release()

    def _fetch(self, files: MediaFiles, business_id: BusinessId, row: RowMapping) -> Future[None]:
        """Return the fetch of this file that runs, or begin it."""
        with self._lock:
            running = self._running.get(row["id"])
            if running is not None:
                return running
            error, until_s = self._failed.get(row["id"], (None, 0.0))
            if error is not None and monotonic_s() < until_s:
                raise _again(error)
            if len(self._running) >= MOST_FETCHES:
                raise _not_yet()
            fetch = Future[None]()
            threading.Thread(
                target=self._run, args=(files, business_id, row, fetch), name="media", daemon=True
            ).start()
            self._running[row["id"]] = fetch  # which the thread takes out, once it gets the lock
        return fetch

    def _run(
        self, files: MediaFiles, business_id: BusinessId, row: RowMapping, fetch: Future[None]
    ) -> None:
        failure: BaseException | None = None
        try:
            self._fetch_once(files, business_id, row)
        except MediaTrouble as error:
            failure = error
        except Exception as error:
            log.exception("media_fetch_broke", message_id=str(row["id"]))
            failure = error
        outcome = "fetched" if failure is None else getattr(failure, "reason", "broke")
        metrics.MEDIA_FETCHES.labels(row["provider"], outcome).inc()
        with self._lock:
            del self._running[row["id"]]
            if isinstance(failure, MediaTrouble):
                self._failed[row["id"]] = (failure, monotonic_s() + REMEMBERED_FOR_S)
                self._failed.move_to_end(row["id"])
                while len(self._failed) > _MOST_REMEMBERED:
                    self._failed.popitem(last=False)
        if failure is None:
            fetch.set_result(None)
        else:
            log.warning(
                "media_not_fetched", message_id=str(row["id"]), outcome=outcome, cause=str(failure)
            )
            fetch.set_exception(failure)

    def _fetch_once(self, files: MediaFiles, business_id: BusinessId, row: RowMapping) -> None:
        draft = self._draft(files, row["id"])
        if draft is None:
            return
        with draft, self._turns.turn(business_id):
            account = self._account_of(business_id, row)
            wanted = WantedFile(row["provider_message_id"], Media(**row["media"]))
            source = MEDIA_SOURCES[ProviderName(row["provider"])]
            self._fetcher.fetch(source, wanted, account, draft)
            draft.publish()

    def _draft(self, files: MediaFiles, message_id: UUID) -> Draft | None:
        """Become the one who fetches this file; None if another process just has."""
        pause = threading.Event()
        ends_at_s = monotonic_s() + TOTAL_TIMEOUT_S
        while True:
            draft = files.draft(Shelf.CACHE, message_id, most_bytes=self._most_bytes)
            if files.path(Shelf.CACHE, message_id).exists():
                if draft is not None:
                    draft.close()
                return None
            if draft is not None:
                return draft
            if monotonic_s() > ends_at_s:
                raise _not_yet()
            pause.wait(_LOOK_EVERY_S)

    def _account_of(self, business_id: BusinessId, row: RowMapping) -> Account:
        try:
            secrets = self._secret_box.open(business_id, row["connection_id"], row["secrets"])
        except ConfigurationError as error:
            raise MediaTrouble(Reason.NOT_CONNECTED, str(error)) from None
        return Account(row["external_id"], row["base_url"], secrets)


class _Turns:
    """Who may fetch: a few at one time, and of one business not all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_it: Counter[BusinessId] = Counter()

    @contextmanager
    def turn(self, business_id: BusinessId) -> Iterator[None]:
        """Wait for a turn, and hold it."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: self._is_free(business_id), TOTAL_TIMEOUT_S)
            if not is_free:
                raise _not_yet()
            self._at_it[business_id] += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_it[business_id] -= 1
                if not self._at_it[business_id]:
                    del self._at_it[business_id]
                self._changed.notify_all()

    def _is_free(self, business_id: BusinessId) -> bool:
        return self._at_it.total() < AT_ONCE and self._at_it[business_id] < AT_ONCE_OF_ONE


def _not_yet() -> MediaTrouble:
    return MediaTrouble(
        Reason.NOT_YET, "the file is still being fetched", retry_after_s=ASK_AGAIN_AFTER_S
    )


def _again(error: MediaTrouble) -> MediaTrouble:
    """Make the same error for another thread: each raises its own."""
    return MediaTrouble(error.reason, str(error), retry_after_s=error.retry_after_s)
