"""Files on this host's disk: what was fetched from gateways, and what is to be sent.

`media_library`, `uploads` and `media_keeper` call it, in any number of processes that share one
folder; they may die between any two lines. A file is there whole or not at all: it is written as
``<id>.part``, which its writer holds by a lock that ends with it, and then renamed. The lock also
makes one writer of many. What counts against the quota is the size of every file, and a part is
made as long beforehand as it may become. Names are ids; nothing here knows whose a file is.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import BinaryIO, Self
from uuid import UUID

from timer_service.clock import monotonic_s
from timer_service.ids import lengthen, shorten
from timer_service.media_trouble import MediaTrouble, Reason

MIN_FREE_BYTES = 256 * 1024**2
"""What must stay free on the disk: Postgres and the spool may live there too."""
GROWS_BY_BYTES = 1024**2
"""How much is set aside at a time for a file whose size nobody told."""
QUOTA_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.01
_PART = ".part"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


class Shelf(StrEnum):
    """Two kinds of files: ``cache`` gives way where room is needed, ``uploads`` does not."""

    CACHE = "cache"
    UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is there. ``used_at_s`` is when it was last opened, by the wall clock."""

    id: UUID
    size_bytes: int
    used_at_s: float


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    size_bytes: int
    used_at_s: float
    gives_way: bool


class MediaFiles:
    """One folder of files, of ``quota_bytes`` together."""

    def __init__(
        self, folder: Path, *, quota_bytes: int, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        self._folder = folder
        self.quota_bytes = quota_bytes
        self._min_free_bytes = min_free_bytes

    def path(self, shelf: Shelf, file_id: UUID) -> Path:
        """Return where a file is, if it is there."""
        name = shorten(file_id)
        return self._folder / shelf / name[-2:] / name

    def open(self, shelf: Shelf, file_id: UUID) -> BinaryIO | None:
        """Open a file, which counts as using it; None if it is not there."""
        path = self.path(shelf, file_id)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        with suppress(OSError):  # it may go meanwhile; what is open stays readable
            os.utime(path)
        return file

    def draft(self, shelf: Shelf, file_id: UUID, *, most_bytes: int) -> Draft | None:
        """Begin to write a file; None while somebody else, in any process, writes it.

        Whoever gets it looks first whether the file is there by now.

        Raises:
            MediaTrouble: the folder cannot be used.
        """
        path = self.path(shelf, file_id)
        part = path.with_name(path.name + _PART)
        try:
            self._folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            part.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _hold(part, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise _no_room(error) from error
        if descriptor is None:
            return None
        return Draft(self, descriptor, part, path, most_bytes)

    def kept(self, shelf: Shelf) -> Iterator[Kept]:
        """Give every file of a shelf; some may be gone by the time they are looked at."""
        for found in self._scan(shelf):
            with suppress(ValueError):
                if found.path.suffix != _PART:
                    yield Kept(lengthen(found.path.name), found.size_bytes, found.used_at_s)

    def remove(self, shelf: Shelf, file_id: UUID) -> None:
        """Delete a file, if it is there."""
        self.path(shelf, file_id).unlink(missing_ok=True)

    def clear_dead_drafts(self) -> int:
        """Delete what writers left behind that have died; return how many."""
        found = [one.path for shelf in Shelf for one in self._scan(shelf)]
        return sum(_bury(path) for path in found if path.suffix == _PART)

    def make_room(self, draft: Draft, size_bytes: int) -> None:
        """Make a draft so long, for which what was not used for longest gives way.

        It may hold what somebody wrote who died over it: that is written over, or cut off.

        Raises:
            MediaTrouble: there is no room for it.
        """
        try:
            with _locked(self._folder / "quota.lock"):
                found = [one for shelf in Shelf for one in self._scan(shelf)]
                grows_by = size_bytes - os.fstat(draft.descriptor).st_size
                missing = sum(one.size_bytes for one in found) + grows_by - self.quota_bytes
                disk = os.statvfs(self._folder)
                free = disk.f_bavail * disk.f_frsize
                missing = max(missing, grows_by + self._min_free_bytes - free)
                for one in sorted(found, key=lambda one: one.used_at_s):
                    if missing <= 0:
                        break
                    if _give_way(one):
                        missing -= one.size_bytes
                if missing > 0:
                    raise MediaTrouble(Reason.NO_ROOM, "no room for this file", retry_after_s=60)
                os.ftruncate(draft.descriptor, size_bytes)
        except OSError as error:
            raise _no_room(error) from error

    def _scan(self, shelf: Shelf) -> Iterator[_Found]:
        for folder in _entries(self._folder / shelf):
            for entry in _entries(Path(folder.path)):
                with suppress(OSError):
                    told = entry.stat(follow_symlinks=False)
                    path = Path(entry.path)
                    gives_way = shelf is Shelf.CACHE or path.suffix == _PART
                    yield _Found(path, told.st_size, told.st_mtime, gives_way)


class Draft:
    """A file that is being written, by nobody else. Left without `publish` it is gone."""

    def __init__(
        self, files: MediaFiles, descriptor: int, part: Path, path: Path, most_bytes: int
    ) -> None:
        self.descriptor = descriptor
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()
        self._files = files
        self._part = part
        self._path = path
        self._most_bytes = min(most_bytes, files.quota_bytes)
        self._room_bytes = 0
        self._is_published = False

    def reserve(self, size_bytes: int) -> None:
        """Make room for a file whose size is told.

        Raises:
            MediaTrouble: it is too large, or there is no room.
        """
        if size_bytes > self._most_bytes:
            raise MediaTrouble(Reason.TOO_LARGE, f"over {self._most_bytes} bytes")
        if size_bytes > self._room_bytes:
            self._files.make_room(self, size_bytes)
            self._room_bytes = size_bytes

    def write(self, chunk: bytes) -> None:
        """Append to the file.

        Raises:
            MediaTrouble: it becomes too large, or there is no room.
        """
        size_bytes = self.size_bytes + len(chunk)
        if size_bytes > self._room_bytes:
            comfortable = min(size_bytes + GROWS_BY_BYTES, self._most_bytes)
            self.reserve(max(size_bytes, comfortable))
        try:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError as error:
            raise _no_room(error) from error
        self.sha256.update(chunk)
        self.size_bytes = size_bytes

    def publish(self) -> None:
        """Let everybody have the file, whole and on the disk.

        Raises:
            MediaTrouble: the disk would not take it.
        """
        try:
            os.ftruncate(self.descriptor, self.size_bytes)
            os.fsync(self.descriptor)
            self._part.replace(self._path)
        except OSError as error:
            raise _no_room(error) from error
        self._is_published = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of it."""
        self.close()

    def close(self) -> None:
        """Let go; an unpublished part is deleted first, while nobody else can hold it."""
        if not self._is_published:
            self._part.unlink(missing_ok=True)
        os.close(self.descriptor)


def _hold(path: Path, flags: int) -> int | None:
    """Open and lock the file that has this name; None while another holds it.

    Raises:
        FileNotFoundError: there is none, and ``flags`` make none.
    """
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, _PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # between the two lines it was published, or deleted


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _bury(part: Path) -> bool:
    """Delete a part whose writer has died; False if it lives."""
    try:
        descriptor = _hold(part, os.O_RDWR)
    except OSError:
        return False
    if descriptor is None:
        return False
    part.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _give_way(found: _Found) -> bool:
    if not found.gives_way:
        return False
    if found.path.suffix == _PART:
        return _bury(found.path)
    found.path.unlink(missing_ok=True)
    return True


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that all processes share; a stopped one must not stop the others for ever."""
    ends_at_s = monotonic_s() + QUOTA_WITHIN_S
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE_FILE)
    try:
        pause = Event()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic_s() > ends_at_s:
                    raise TimeoutError(errno.ETIMEDOUT, "another holds the quota") from None
                pause.wait(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _no_room(error: OSError) -> MediaTrouble:
    named = errno.errorcode.get(error.errno or 0, "unknown")
    return MediaTrouble(Reason.NO_ROOM, f"TIMER_MEDIA_DIR cannot be used: {named}")
