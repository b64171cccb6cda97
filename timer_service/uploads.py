"""Takes files that are to be sent: what they are, whose they are, and for how long.

Called by the JSON API, which hands on the bytes as they come in. A file is on the disk before its
row is there; one whose row never came is cleared up by `media_keeper`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self
from uuid import UUID

from timer_service.database import Database
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.file_types import SNIFFED_BYTES, kind_of, most_bytes_of, sniff
from timer_service.ids import BusinessId, new_id
from timer_service.media_files import Draft, MediaFiles, Shelf
from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.records import uploads
from timer_service.resources import Upload
from timer_service.text_cleaning import clean_text

SHARE_OF_ONE = 4
"""A business may fill a fourth of the folder with what it has not sent yet."""
_LONGEST_NAME = 255


class Uploads:
    """The uploads of one folder; None for ``files``: there is none."""

    def __init__(self, database: Database, files: MediaFiles | None, *, most_bytes: int) -> None:
        self._database = database
        self._files = files
        self._most_bytes = most_bytes

    def begin(self, business_id: BusinessId) -> Incoming:
        """Make ready for a file.

        Raises:
            Conflict: the business has handed over too much already.
            MediaTrouble: nothing is kept here.
        """
        if self._files is None:
            raise MediaTrouble(Reason.SWITCHED_OFF, "files need TIMER_MEDIA_DIR to be set")
        with self._database.transaction() as db:
            held = uploads.held_bytes(db, business_id)
        room = self._files.quota_bytes // SHARE_OF_ONE - held
        if room <= 0:
            raise Conflict("this business's uploads fill their room: each ends after a day")
        upload_id = new_id()
        draft = self._files.draft(Shelf.UPLOADS, upload_id, most_bytes=min(room, self._most_bytes))
        if draft is None:  # nobody else knows the id
            raise MediaTrouble(Reason.NO_ROOM, "the folder cannot be used", retry_after_s=60)
        return Incoming(upload_id, draft)

    def keep(self, business_id: BusinessId, incoming: Incoming, file_name: str | None) -> Upload:
        """Keep a file that is there whole, if WhatsApp takes it.

        Raises:
            InvalidInput: it is empty.
            MediaTrouble: it is of no type, or of a size, that WhatsApp does not take.
            NotFound: the business is gone.
        """
        draft, files = incoming.draft, self._files
        if files is None or not draft.size_bytes:
            raise InvalidInput("expected a file, found nothing in it", field="file")
        name = clean_text(file_name or "").strip()[-_LONGEST_NAME:] or None
        mime_type = sniff(bytes(incoming.beginning), name)
        if mime_type is None:
            raise MediaTrouble(
                Reason.NOT_TAKEN,
                "expected what WhatsApp takes: JPEG, PNG, MP4, 3GP, MP3, OGG, AAC, AMR, M4A, PDF, "
                "Office documents by their ending, or text",
            )
        most_bytes = most_bytes_of(kind_of(mime_type))
        if draft.size_bytes > most_bytes:
            raise MediaTrouble(
                Reason.TOO_LARGE, f"WhatsApp takes {most_bytes} bytes of {mime_type} at most"
            )
        draft.publish()
        try:
            with self._database.transaction() as db:
                row = uploads.add(
                    db,
                    {
                        "id": incoming.id,
                        "business_id": business_id,
                        "mime_type": mime_type,
                        "file_name": name,
                        "size_bytes": draft.size_bytes,
                        "sha256": draft.sha256.hexdigest(),
                    },
                )
        except BaseException:
            files.remove(Shelf.UPLOADS, incoming.id)
            raise
        if row is None:
            files.remove(Shelf.UPLOADS, incoming.id)
            raise NotFound(f"there is no business {business_id}")
        return Upload.of(row)


class Incoming:
    """A file that comes in; left without `Uploads.keep` nothing stays of it."""

    def __init__(self, upload_id: UUID, draft: Draft) -> None:
        self.id = upload_id
        self.draft = draft
        self.beginning = bytearray()

    def write(self, chunk: bytes) -> None:
        """Append to the file.

        Raises:
            MediaTrouble: it becomes too large, or there is no room.
        """
        self.beginning += chunk[: SNIFFED_BYTES - len(self.beginning)]
        self.draft.write(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of it."""
        self.draft.close()
