"""Files on a disk that several processes share, any of which may be killed at any time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.waiting import wait_until
from timer_service import media_files
from timer_service.ids import new_id, shorten
from timer_service.media_files import MediaFiles, Shelf
from timer_service.media_trouble import MediaTrouble, Reason

ROOT = Path(__file__).resolve().parents[2]
KB = 1024
CACHE, UPLOADS = Shelf.CACHE, Shelf.UPLOADS


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaFiles:
    monkeypatch.setattr(media_files, "GROWS_BY_BYTES", KB)
    return MediaFiles(tmp_path / "media", quota_bytes=100 * KB, min_free_bytes=0)


def put(files: MediaFiles, size: int = 10 * KB, *, shelf: Shelf = CACHE, fill: int = 1) -> UUID:
    file_id = new_id()
    draft = files.draft(shelf, file_id, most_bytes=1000 * KB)
    assert draft is not None
    with draft:
        draft.write(bytes([fill]) * size)
        draft.publish()
    return file_id


def is_there(files: MediaFiles, file_id: UUID, shelf: Shelf = CACHE) -> bool:
    return files.path(shelf, file_id).exists()


def read(files: MediaFiles, file_id: UUID, shelf: Shelf = CACHE) -> bytes | None:
    file = files.open(shelf, file_id)
    if file is None:
        return None
    with file:
        return file.read()


def used_bytes(folder: Path) -> int:
    found = 0
    for one in folder.rglob("*"):
        try:
            found += one.stat().st_size if one.is_file() else 0
        except FileNotFoundError:
            continue
    return found


def run_process(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a program over the same folder, as another process of the service does."""
    beginning = f"""
import sys
from pathlib import Path
from uuid import UUID
from timer_service import media_files
from timer_service.ids import new_id
from timer_service.media_files import MediaFiles, Shelf
from timer_service.media_trouble import MediaTrouble
media_files.GROWS_BY_BYTES = 1024
files = MediaFiles(Path({str(folder)!r}), quota_bytes=100 * 1024, min_free_bytes=0)
"""
    return subprocess.Popen(
        [sys.executable, "-c", beginning + code, *arguments],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_file_is_there_once_it_is_whole(files: MediaFiles) -> None:
    file_id = new_id()
    draft = files.draft(CACHE, file_id, most_bytes=20 * KB)
    assert draft is not None
    with draft:
        draft.write(b"half")
        assert read(files, file_id) is None
        assert list(files.kept(CACHE)) == []
        draft.write(b" and half")
        draft.publish()
    assert read(files, file_id) == b"half and half"
    assert [one.id for one in files.kept(CACHE)] == [file_id]
    assert [one.size_bytes for one in files.kept(CACHE)] == [13]


def test_a_draft_that_is_left_leaves_nothing(files: MediaFiles, tmp_path: Path) -> None:
    file_id = new_id()
    draft = files.draft(CACHE, file_id, most_bytes=20 * KB)
    assert draft is not None
    draft.write(b"half")
    draft.close()
    assert used_bytes(tmp_path) == 0


def test_of_many_one_writes(files: MediaFiles) -> None:
    file_id = new_id()
    with ThreadPoolExecutor(8) as pool:
        drafts = list(pool.map(lambda _: files.draft(CACHE, file_id, most_bytes=KB), range(16)))
    (mine,) = [one for one in drafts if one is not None]
    mine.close()
    after = files.draft(CACHE, file_id, most_bytes=KB)
    assert after is not None
    after.close()


def test_whoever_waited_for_a_lock_holds_the_file_that_has_the_name(
    files: MediaFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the locking of a part another may publish it, or give it up."""
    file_id = new_id()
    put(files)
    lock, part = fcntl.flock, files.path(CACHE, file_id).with_suffix(".part")

    def lock_late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        part.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    draft = files.draft(CACHE, file_id, most_bytes=KB)
    assert draft is not None
    with draft:
        draft.write(b"whole")
        draft.publish()
    assert read(files, file_id) == b"whole"


def test_a_file_that_becomes_too_large_is_cut_off(files: MediaFiles) -> None:
    draft = files.draft(CACHE, new_id(), most_bytes=5 * KB)
    assert draft is not None
    with draft:
        draft.write(bytes(5 * KB))
        with pytest.raises(MediaTrouble) as caught:
            draft.write(b"1")
        assert caught.value.reason is Reason.TOO_LARGE
        with pytest.raises(MediaTrouble):
            draft.reserve(6 * KB)


def test_what_was_not_used_for_longest_gives_way(files: MediaFiles) -> None:
    ids = [put(files) for _ in range(9)]
    for at, one in enumerate(ids):
        os.utime(files.path(CACHE, one), (at, at))
    assert read(files, ids[0]) is not None  # used just now
    put(files, 29 * KB)
    assert [is_there(files, one) for one in ids] == [True, False, False, *[True] * 6]


def test_uploads_do_not_give_way_and_when_there_is_no_room_that_is_said(
    files: MediaFiles,
) -> None:
    kept = [put(files, 45 * KB, shelf=UPLOADS) for _ in range(2)]
    cached = put(files, 5 * KB)
    with pytest.raises(MediaTrouble) as caught:
        put(files, 20 * KB)
    assert caught.value.reason is Reason.NO_ROOM
    assert all(is_there(files, one, UPLOADS) for one in kept)
    assert not is_there(files, cached)


def test_a_disk_that_fills_up_is_no_room(tmp_path: Path) -> None:
    files = MediaFiles(tmp_path, quota_bytes=100 * KB, min_free_bytes=2**62)
    with pytest.raises(MediaTrouble) as caught:
        put(files)
    assert caught.value.reason is Reason.NO_ROOM


def test_what_is_being_read_stays_readable_when_it_gives_way(files: MediaFiles) -> None:
    file_id = put(files, 40 * KB, fill=7)
    file = files.open(CACHE, file_id)
    assert file is not None
    with file:
        put(files, 90 * KB)
        assert not is_there(files, file_id)
        assert file.read() == b"\7" * 40 * KB


@pytest.mark.parametrize("line", ["draft", "reserve", "write", "publish"])
def test_whoever_is_killed_leaves_no_half_file_and_no_lock(
    files: MediaFiles, tmp_path: Path, line: str
) -> None:
    file_id = new_id()
    steps = {
        "draft": "",
        "reserve": "draft.reserve(50 * 1024)",
        "write": "draft.reserve(50 * 1024); draft.write(b'x' * 20000)",
        "publish": "draft.write(b'x' * 20000); media_files.Path.replace = stand; draft.publish()",
    }
    process = run_process(
        tmp_path / "media",
        f"""
def stand(*_):
    print("there", flush=True)
    sys.stdin.read()
draft = files.draft(Shelf.CACHE, UUID(sys.argv[1]), most_bytes=60 * 1024)
{steps[line]}
stand()
""",
        str(file_id),
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "there\n"
        assert files.draft(CACHE, file_id, most_bytes=KB) is None
        assert files.clear_dead_drafts() == 0
        os.kill(process.pid, signal.SIGKILL)
    assert read(files, file_id) is None
    assert list(files.kept(CACHE)) == []
    draft = files.draft(CACHE, file_id, most_bytes=KB)  # whoever comes next begins anew
    assert draft is not None
    with draft:
        draft.write(b"whole")
        draft.publish()
    assert read(files, file_id) == b"whole"


def test_what_the_dead_left_gives_way_and_is_cleared_up(files: MediaFiles, tmp_path: Path) -> None:
    for _ in range(2):
        process = run_process(
            tmp_path / "media",
            """
draft = files.draft(Shelf.CACHE, new_id(), most_bytes=100 * 1024)
draft.reserve(45 * 1024)
import os; os._exit(9)
""",
        )
        process.communicate(timeout=30)
    assert used_bytes(tmp_path) == 90 * KB
    put(files, 30 * KB)
    assert used_bytes(tmp_path) == 75 * KB
    assert files.clear_dead_drafts() == 1
    assert used_bytes(tmp_path) == 30 * KB


def test_two_processes_never_hold_more_than_the_quota(files: MediaFiles, tmp_path: Path) -> None:
    code = """
import random
chance = random.Random(sys.argv[1])
for _ in range(60):
    draft = files.draft(Shelf.CACHE, new_id(), most_bytes=60 * 1024)
    with draft:
        try:
            size = chance.randrange(1, 40 * 1024)
            if chance.random() < 0.5:
                draft.reserve(size)
            for at in range(0, size, 4096):
                draft.write(b"x" * min(4096, size - at))
            draft.publish()
        except MediaTrouble as error:
            assert error.reason == "no_room", error
"""
    processes = [run_process(tmp_path / "media", code, seed) for seed in "ab"]
    stop = threading.Event()
    most = 0

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.005):
            most = max(most, _at_one_time(files))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for process in processes:
        process.communicate(timeout=60)
    stop.set()
    watcher.join()
    assert [one.returncode for one in processes] == [0, 0]
    assert 60 * KB < most <= 100 * KB
    assert 0 < sum(one.size_bytes for one in files.kept(CACHE)) <= 100 * KB


def _at_one_time(files: MediaFiles) -> int:
    """Add up what is there while nobody makes or takes room."""
    with (
        media_files._locked(files._folder / "quota.lock")
        if (files._folder / "quota.lock").exists()
        else threading.Lock()
    ):
        return sum(one.size_bytes for shelf in Shelf for one in files._scan(shelf))


def test_a_process_that_stands_still_over_the_quota_stops_nobody_for_ever(
    files: MediaFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_files, "QUOTA_WITHIN_S", 0.2)
    put(files)
    process = run_process(
        tmp_path / "media",
        """
with media_files._locked(files._folder / "quota.lock"):
    print("there", flush=True)
    sys.stdin.read()
""",
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "there\n"
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(MediaTrouble):
            put(files)
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: put(files), what="the lock ended with its holder")


def test_a_link_that_somebody_put_there_is_not_followed(files: MediaFiles, tmp_path: Path) -> None:
    file_id = new_id()
    target = tmp_path / "target"
    target.write_text("mine")
    put(files)
    path = files.path(CACHE, file_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".part").symlink_to(target)
    with pytest.raises(MediaTrouble):
        files.draft(CACHE, file_id, most_bytes=KB)
    assert target.read_text() == "mine"


def test_names_are_ids(files: MediaFiles, tmp_path: Path) -> None:
    file_id = put(files)
    assert files.path(CACHE, file_id).name == shorten(file_id)
    (tmp_path / "media" / "cache" / "zz").mkdir()
    (tmp_path / "media" / "cache" / "zz" / "notes").write_text("somebody's")
    assert [one.id for one in files.kept(CACHE)] == [file_id]
