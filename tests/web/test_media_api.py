"""The files of messages over HTTP: who may have them, how they are answered, and fetched once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.support.fake_media_gateway import PICTURE, FakeFiles, File
from tests.support.waiting import wait_until
from tests.web.conftest import running
from tests.web.reader import Reader, page_of, page_of_session
from tests.web.shop import Shop
from timer_http import create_app
from timer_service import media_library
from timer_service.file_types import ANYTHING
from timer_service.ids import BusinessId
from timer_service.settings import Settings
from timer_service.wiring import WebServices

NAME = "/api/files/default/false_972500000001@c.us_AC2.jpg"
JPEG = {"mime_type": "image/jpeg", "file_name": "blue.jpg", "size_bytes": len(PICTURE)}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Have a folder for files; the settings are otherwise those of all web tests."""
    return settings.model_copy(update={"media_dir": tmp_path / "media", "media_file_mb": 1})


@pytest.fixture
def gateway() -> Iterator[FakeFiles]:
    with FakeFiles() as gateway:
        gateway.has(NAME, File(PICTURE))
        yield gateway


@pytest.fixture
def line(shop: Shop, gateway: FakeFiles) -> dict[str, Any]:
    return connected(shop, gateway)


def connected(shop: Shop, gateway: FakeFiles) -> dict[str, Any]:
    return shop.connect(
        "waha",
        external_id="default",
        base_url=gateway.url,
        secrets={"hmac_key": "hmac", "api_key": "waha-key"},
    )


def get(shop: Shop, path: str, *, role: str = "viewer", **headers: str) -> TestResponse:
    """Ask for a file and read all of it."""
    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return shop.get(path, role=role, buffered=True, environ_base=environ)


def receive(shop: Shop, line: dict[str, Any], **media: Any) -> str:
    """Record a customer's picture; return the address of its file."""
    # WAHA names itself as it knows itself.
    given = {"url": f"http://localhost:3000{NAME}", **JPEG, **media}
    (recorded,) = shop.record(line, "like this", type="image", media=given)
    listed = shop.get(f"/api/sessions/{recorded['session_id']}/messages").json["items"]
    return f"/api/messages/{listed[-1]['id']}/media"


def test_a_file_is_fetched_with_the_connections_key_and_from_then_on_is_here(
    shop: Shop, line: dict[str, Any], gateway: FakeFiles
) -> None:
    path = receive(shop, line)
    for _ in range(2):
        answer = get(shop, path)
        assert (answer.status_code, answer.data) == (200, PICTURE)
    (asked,) = gateway.requests
    assert (asked.path, asked.headers["x-api-key"]) == (NAME, "waha-key")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Disposition"] == "inline; filename=blue.jpg"
    assert answer.headers["Content-Length"] == str(len(PICTURE))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "private, max-age=0, must-revalidate"


def test_a_part_of_it_can_be_had_and_what_one_has_is_not_sent_again(
    shop: Shop, line: dict[str, Any]
) -> None:
    path = receive(shop, line)
    part = get(shop, path, range="bytes=4-9")
    assert (part.status_code, part.data) == (206, PICTURE[4:10])
    assert part.headers["Content-Range"] == f"bytes 4-9/{len(PICTURE)}"
    beyond = get(shop, path, range="bytes=99999999-")
    assert beyond.status_code == 416
    etag = part.headers["ETag"]
    same = get(shop, path, if_none_match=etag)
    assert (same.status_code, same.data) == (304, b"")


ANSWERED = {
    "image/png": "image/png",
    "audio/ogg; codecs=opus": "audio/ogg",
    "video/mp4": "video/mp4",
    "application/pdf": "application/pdf",
    "text/html": ANYTHING,
    "image/svg+xml": ANYTHING,
    "text/javascript": ANYTHING,
    "application/xhtml+xml": ANYTHING,
    "image/png\r\nX-Evil: 1": ANYTHING,
    None: ANYTHING,
}


def test_what_a_browser_could_run_is_saved_and_never_named_as_what_it_is(
    shop: Shop, line: dict[str, Any]
) -> None:
    for mime_type, answered in ANSWERED.items():
        answer = get(shop, receive(shop, line, mime_type=mime_type))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, answered)
        is_inline = answered.startswith(("image", "audio", "video"))
        disposition = answer.headers["Content-Disposition"].partition(";")[0]
        assert disposition == ("inline" if is_inline else "attachment"), mime_type
        assert "X-Evil" not in answer.headers


SAVED_AS = {
    "../../etc/passwd": "_.._etc_passwd",
    'a"\r\nSet-Cookie: x=1;.pdf': "a___Set-Cookie_ x=1;.pdf",
    "cod\u202efdp.exe": "cod_fdp.exe",
    "": "image.jpg",
    None: "image.jpg",
}


def test_a_name_says_only_what_a_file_is_called(shop: Shop, line: dict[str, Any]) -> None:
    for name, saved_as in SAVED_AS.items():
        answer = get(shop, receive(shop, line, file_name=name))
        assert "Set-Cookie" not in answer.headers
        assert saved_as in answer.headers["Content-Disposition"]


def test_another_business_and_no_key_get_nothing_and_nothing_is_fetched(
    shop: Shop, other_shop: Shop, line: dict[str, Any], gateway: FakeFiles
) -> None:
    path = receive(shop, line)
    theirs = get(other_shop, path)
    nobodys = other_shop.get(f"/api/messages/{uuid4()}/media")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.json.keys() == nobodys.json.keys()
    assert shop.client.get(path).status_code == 401
    assert gateway.asked == []
    assert get(shop, path).status_code == 200
    assert get(other_shop, path).status_code == 404  # nor from the disk


def test_ten_viewers_cause_one_download(
    shop: Shop, app: Flask, line: dict[str, Any], gateway: FakeFiles
) -> None:
    gateway.has(NAME, File(PICTURE), waits=True)
    path = receive(shop, line)
    headers = {"Authorization": f"Bearer {shop.keys['viewer']}"}
    with ThreadPoolExecutor(10) as pool:
        answers = [
            pool.submit(app.test_client().get, path, headers=headers, buffered=True)
            for _ in range(10)
        ]
        wait_until(lambda: gateway.waiting, what="the gateway is asked")
        gateway.let_go.set()
        assert {one.result().status_code for one in answers} == {200}
    assert len(gateway.asked) == 1


def test_two_processes_cause_one_download(
    shop: Shop, settings: Settings, line: dict[str, Any], gateway: FakeFiles
) -> None:
    gateway.has(NAME, File(PICTURE), waits=True)
    path = receive(shop, line)
    headers = {"Authorization": f"Bearer {shop.keys['viewer']}"}
    with running(settings) as others, ThreadPoolExecutor(2) as pool:
        first = pool.submit(shop.client.get, path, headers=headers, buffered=True)
        wait_until(lambda: gateway.waiting, what="the gateway is asked")
        second = pool.submit(
            create_app(others).test_client().get, path, headers=headers, buffered=True
        )
        wait_until(lambda: others.media._running, what="the other process wants it too")
        gateway.let_go.set()
        assert (first.result().data, second.result().data) == (PICTURE, PICTURE)
    assert len(gateway.asked) == 1


def test_whoever_does_not_wait_so_long_is_told_when_to_ask_again(
    shop: Shop, line: dict[str, Any], gateway: FakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_library, "PATIENCE_S", 0.05)
    gateway.has(NAME, File(PICTURE), waits=True)
    path = receive(shop, line)
    answer = get(shop, path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    gateway.let_go.set()
    wait_until(lambda: get(shop, path).status_code == 200, what="it is there afterwards")
    assert len(gateway.asked) == 1


FAULTS = (
    (File(status=404), 410),
    (File(status=401), 409),
    (File(status=500), 502),
    (File(status=503, headers={"Retry-After": "7"}), 503),
    (File(bytes(2 * 1024**2)), 413),
    (File(PICTURE[:-1]), 502),
    (File(PICTURE, kind="break"), 502),
    (File(status=302, headers={"Location": "http://127.0.0.1:1/"}), 502),
)


def test_what_goes_wrong_at_the_gateway_is_told_in_our_form(
    shop: Shop, line: dict[str, Any], gateway: FakeFiles
) -> None:
    for number, (file, status) in enumerate(FAULTS, start=1):
        gateway.has(NAME, file)
        path = receive(shop, line, size_bytes=None if status == 413 else len(PICTURE))
        for _ in range(2):
            answer = get(shop, path)
            assert answer.status_code == status, answer.json
            assert answer.content_type == "application/problem+json"
            assert answer.headers.get("Retry-After") == ("7" if status == 503 else None)
        assert len(gateway.asked) == number  # what failed a moment ago is not asked for again


def test_a_gateway_that_is_away_is_503(shop: Shop, gateway: FakeFiles) -> None:
    with FakeFiles() as gone:
        url = gone.url
    line = shop.connect("waha", external_id="default", base_url=url)
    answer = get(shop, receive(shop, line))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


def test_a_message_without_a_file_has_none(shop: Shop, line: dict[str, Any]) -> None:
    (recorded,) = shop.record(line, "hello")
    (message,) = shop.get(f"/api/sessions/{recorded['session_id']}/messages").json["items"]
    assert shop.get(f"/api/messages/{message['id']}/media").status_code == 404
    assert shop.get("/api/messages/x/media").status_code == 404


def test_without_a_folder_nothing_is_fetched(
    shop: Shop, settings: Settings, line: dict[str, Any], gateway: FakeFiles
) -> None:
    path = receive(shop, line)
    with running(settings.model_copy(update={"media_dir": None})) as services:
        answer = (
            create_app(services)
            .test_client()
            .get(path, headers={"Authorization": f"Bearer {shop.keys['viewer']}"})
        )
    assert (answer.status_code, gateway.asked) == (501, [])
    assert "TIMER_MEDIA_DIR" in answer.json["detail"]


def test_names_on_the_disk_and_words_in_the_log_tell_nothing(
    shop: Shop,
    line: dict[str, Any],
    gateway: FakeFiles,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    get(shop, receive(shop, line))
    gateway.has(NAME, File(status=500))
    get(shop, receive(shop, line))
    names = " ".join(str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*"))
    said = names + "".join(capfd.readouterr())
    assert "media_not_fetched" in said
    assert not any(word in said for word in ("972500000001", "waha-key", "blue", "like this"))
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert {one.stat().st_mode & 0o777 for one in files} == {0o600}
    assert (tmp_path / "media").stat().st_mode & 0o777 == 0o700


def test_a_revoked_or_erased_message_has_no_file_any_more(
    shop: Shop, services: WebServices, line: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    kept, revoked = receive(shop, line), receive(shop, line)
    for path in (kept, revoked):
        assert get(shop, path).status_code == 200
    with services.database.transaction() as db:
        db.exec_driver_sql(
            "UPDATE messages SET media = NULL, revoked_at = clock_timestamp() WHERE id = %s",
            (revoked.split("/")[3],),
        )
    assert get(shop, revoked).status_code == 404
    assert services.media_keeper.keep_once() == 1
    assert (get(shop, kept).status_code, len(_cached(tmp_path))) == (200, 1)
    services.administration.erase_business(BusinessId(UUID(shop.id)))
    services.media_keeper.keep_once()
    assert _cached(tmp_path) == []


def _cached(folder: Path) -> list[Path]:
    return [one for one in (folder / "media" / "cache").rglob("*") if one.is_file()]


def test_a_transcript_shows_files_from_our_own_address(
    app: Flask, shop: Shop, line: dict[str, Any]
) -> None:
    picture = receive(shop, line)
    receive(shop, line, mime_type="audio/ogg")
    receive(shop, line, mime_type="application/pdf", file_name="offer.pdf")
    viewer = Reader.signed_in(app, shop.keys["viewer"])
    (session,) = shop.sessions
    page = viewer.open(page_of_session(shop, session["id"]))
    address = f"{page_of(shop)}/messages/{picture.split('/')[3]}/media"
    assert f'<img src="{address}" loading="lazy"' in page.text
    assert page.text.count("<audio ") == 1
    assert ">Photo · <bdi>offer.pdf</bdi>" in page.text
    assert "media-src 'self'" in page.headers["Content-Security-Policy"]
    answer = viewer.open(address, buffered=True)
    assert (answer.status_code, answer.data) == (200, PICTURE)
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_files_page_is_not_for_strangers(
    app: Flask, shop: Shop, other_shop: Shop, line: dict[str, Any]
) -> None:
    message = receive(shop, line).split("/")[3]
    stranger = Reader.signed_in(app, other_shop.keys["manager"])
    assert stranger.open(f"{page_of(shop)}/messages/{message}/media").status_code == 404
    assert stranger.open(f"{page_of(other_shop)}/messages/{message}/media").status_code == 404
    assert Reader(app).open(f"{page_of(shop)}/messages/{message}/media").status_code == 303
