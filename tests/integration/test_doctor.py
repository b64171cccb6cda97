"""The doctor looks and says; it changes nothing and shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from timer_service.doctor import Finding, look_at_files, look_at_redis, masked
from timer_service.file_types import MB
from timer_service.ids import new_id
from timer_service.media_files import MediaFiles, Shelf
from timer_service.settings import load_settings

FLAGS = "notify-keyspace-events"


def about_events(redis_url: str) -> Finding:
    (found,) = [
        one for one in look_at_redis(load_settings(redis_url=redis_url)) if "events" in one.text
    ]
    return found


@pytest.mark.parametrize(("flags", "words"), [("xE", "are on"), ("", "are off")])
def test_it_says_whether_events_come_and_leaves_the_setting_alone(
    redis_url: str, flags: str, words: str
) -> None:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        before = client.config_get(FLAGS)[FLAGS]
        client.config_set(FLAGS, flags)
        try:
            assert words in about_events(redis_url).text
            assert client.config_get(FLAGS)[FLAGS] == flags
        finally:
            client.config_set(FLAGS, before)


def test_it_says_how_much_of_the_folder_of_files_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    (nothing,) = look_at_files(load_settings(media_dir=folder))
    assert nothing.text.endswith("0 of 1024 MB used")
    assert not folder.exists()
    draft = MediaFiles(folder, quota_bytes=9 * MB).draft(Shelf.CACHE, new_id(), most_bytes=9 * MB)
    assert draft is not None
    with draft:
        draft.write(bytes(2 * MB))
        draft.publish()
    (found,) = look_at_files(load_settings(media_dir=folder))
    assert found.text.endswith("2 of 1024 MB used")
    assert "TIMER_MEDIA_DIR" in look_at_files(load_settings())[0].text


def test_a_password_is_masked() -> None:
    assert masked("redis://:hush@host:6379/0") == "redis://:***@host:6379/0"
    assert masked("redis://host:6379/0") == "redis://host:6379/0"
