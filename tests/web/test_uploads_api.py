"""Handing files over by HTTP, and the address at which a gateway fetches one."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_fuzz
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from tests.support.fake_media_gateway import PICTURE
from tests.web.conftest import running
from tests.web.reader import Reader, page_of, page_of_session
from tests.web.shop import Shop
from timer_http import create_app
from timer_service import media_links
from timer_service.file_types import MB
from timer_service.media_links import MediaLinks
from timer_service.settings import Settings
from timer_service.wiring import WebServices

FORM = "multipart/form-data; boundary=edge"
PDF = b"%PDF-1.7\n" + bytes(2000)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Have a folder for files of 40 MB, of which one has 6 at most."""
    folder = {"media_dir": tmp_path / "media", "media_quota_mb": 40, "media_file_mb": 6}
    return settings.model_copy(update=folder)


def file(content: bytes, name: str) -> FileStorage:
    return FileStorage(io.BytesIO(content), name)


def upload(
    shop: Shop, content: bytes = PICTURE, name: str = "blue.jpg", role: str = "agent", **form: Any
) -> TestResponse:
    """Hand a file over, as the form's field ``file`` unless another form is given."""
    _, encoded = encode_multipart(form or {"file": file(content, name)}, boundary="edge")
    return shop.post("/api/media", role=role, data=encoded, content_type=FORM)


def files_in(folder: Path) -> list[Path]:
    return [one for one in (folder / "media" / "uploads").rglob("*") if one.is_file()]


def test_a_file_is_taken_for_what_it_is(shop: Shop, tmp_path: Path) -> None:
    answer = upload(shop, name="blue.exe")
    assert answer.status_code == 201, answer.json
    taken = answer.json
    assert UUID(taken.pop("media_id"))
    assert taken.pop("expires_at")
    assert taken == {
        "type": "image",
        "mime_type": "image/jpeg",
        "file_name": "blue.exe",
        "size_bytes": len(PICTURE),
        "sha256": hashlib.sha256(PICTURE).hexdigest(),
    }
    (kept,) = files_in(tmp_path)
    assert kept.read_bytes() == PICTURE
    assert "blue" not in str(kept)


def test_it_is_sent_by_its_id_and_shown_as_long_as_it_lasts(shop: Shop, app: Flask) -> None:
    connection = shop.connect("waha", base_url="http://gateway.internal:3000")
    shop.record(connection, "hello")
    media_id = upload(shop).json["media_id"]
    body = {
        "connection_id": connection["id"],
        "to": "972500000001",
        "media": {"media_id": media_id, "caption": "here"},
    }
    answer = shop.post("/api/messages", body, role="agent")
    assert answer.status_code == 202, answer.json
    path = f"/api/messages/{answer.json['id']}/media"
    assert shop.get(path, role="viewer", buffered=True).data == PICTURE
    (session,) = shop.sessions
    page = Reader.signed_in(app, shop.keys["viewer"]).read(page_of_session(shop, session["id"]))
    assert f'<img src="{page_of(shop)}/messages/{answer.json["id"]}/media"' in page


def test_what_is_no_file_whatsapp_takes_is_refused_and_nothing_stays(
    shop: Shop, tmp_path: Path
) -> None:
    refused = [
        (upload(shop, b"MZ\x90\0" + bytes(100), "a.jpg"), 415),
        (upload(shop, b"", "a.jpg"), 422),
        (upload(shop, PICTURE + bytes(5 * MB), "a.jpg"), 413),  # as a picture
        (upload(shop, PDF + bytes(6 * MB), "a.pdf"), 413),  # at all
        (upload(shop, other=file(PICTURE, "a.jpg")), 422),
        (upload(shop, file="words"), 422),
        (
            upload(shop, file=file(PICTURE, "a"), more=file(PICTURE, "b")),
            422,
        ),
        (shop.post("/api/media", {"file": "x"}, role="agent"), 422),
        (shop.post("/api/media", role="agent", data=PICTURE, content_type="image/jpeg"), 422),
        (
            shop.post("/api/media", role="agent", data=b"no form",
                      content_type="multipart/form-data; boundary=x"),
            400,
        ),
        (
            shop.post("/api/media", role="agent", data=b"no form",
                      content_type="multipart/form-data"),
            400,
        ),
        (
            shop.post("/api/media", role="agent", input_stream=io.BytesIO(b"--x"),
                      content_type="multipart/form-data; boundary=x",
                      environ_base={"HTTP_TRANSFER_ENCODING": "chunked"}),
            411,
        ),
    ]  # fmt: skip
    for answer, status in refused:
        assert answer.status_code == status, answer.json
        assert answer.content_type == "application/problem+json"
    assert files_in(tmp_path) == []
    assert upload(shop, PDF + bytes(5 * MB), "a.pdf").status_code == 201


def test_a_form_that_breaks_off_leaves_nothing(shop: Shop, tmp_path: Path) -> None:
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + PICTURE
    answer = shop.post(
        "/api/media", role="agent", data=whole, content_type="multipart/form-data; boundary=x"
    )
    assert answer.status_code == 400
    assert files_in(tmp_path) == []


FORM_PARTS = st.sampled_from(
    [
        b"--edge\r\n", b"--edge--\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\xff", b"\0", b'"',
        PICTURE[:40],
        b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n',
        b'Content-Disposition: form-data; name="file"; filename="\xff\0../a"\r\n',
        b'Content-Disposition: form-data; name="more"\r\n', b"Content-Type: image/jpeg\r\n",
        b"Content-Length: -1\r\n", b"Content-Type: text/plain; charset=nonsense\r\n",
    ]
) | st.binary(max_size=30)  # fmt: skip


@settings_of_fuzz(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    parts=st.lists(FORM_PARTS, max_size=12),
    boundary=st.sampled_from(["edge", "", "e" * 80, '"', "\u05d0"]),
)
def test_whatever_form_comes_is_no_fault_of_ours_and_leaves_nothing(
    shop: Shop, tmp_path: Path, parts: list[bytes], boundary: str
) -> None:
    answer = shop.post(
        "/api/media",
        role="agent",
        data=b"".join(parts),
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    assert answer.status_code < 500, (parts, answer.text)
    kept = files_in(tmp_path)
    assert [one for one in kept if one.suffix == ".part"] == []
    if answer.status_code != 201:
        assert answer.content_type == "application/problem+json"


def test_who_may_not_send_may_not_hand_over(shop: Shop, tmp_path: Path) -> None:
    assert upload(shop, role="viewer").status_code == 403
    assert shop.client.post("/api/media", data={}).status_code == 401
    assert files_in(tmp_path) == []


def test_without_a_folder_nothing_is_taken(shop: Shop, settings: Settings) -> None:
    with running(settings.model_copy(update={"media_dir": None})) as services:
        answer = (
            create_app(services)
            .test_client()
            .post(
                "/api/media",
                data={"file": (io.BytesIO(PICTURE), "a.jpg")},
                headers={"Authorization": f"Bearer {shop.keys['agent']}"},
            )
        )
    assert answer.status_code == 501


class TestAddresses:
    def test_one_opens_its_file_to_whoever_has_it(self, shop: Shop, services: WebServices) -> None:
        media_id = UUID(upload(shop, PDF, "offer.pdf").json["media_id"])
        address = services.media_links.address(media_id)
        assert address.startswith("https://timer.example/media/")
        path = address.removeprefix("https://timer.example")
        answer = shop.client.get(path, buffered=True)
        assert (answer.status_code, answer.data) == (200, PDF)
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Disposition"] == "attachment; filename=offer.pdf"
        assert shop.client.head(path, buffered=True).headers["Content-Length"] == str(len(PDF))
        assert "Set-Cookie" not in answer.headers

    def test_nobody_makes_one_up_and_none_lasts(
        self, shop: Shop, services: WebServices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        media_id = UUID(upload(shop).json["media_id"])
        good = services.media_links.address(media_id).rpartition("/")[2]
        of_another_key = MediaLinks([Fernet.generate_key().decode()], "").address(media_id)
        for token in (
            str(media_id),
            good[:40] + ("A" if good[40] != "A" else "B") + good[41:],
            good[:40],
            "x" * 400,
            "x" * 600,
            "%00",
            "שלום",
            of_another_key.rpartition("/")[2],
        ):
            answer = shop.client.get(f"/media/{token}")
            assert answer.status_code == 404, token
            assert answer.content_type == "application/problem+json"
        later_s = media_links.epoch_s() + media_links.GOOD_FOR_S + 1
        monkeypatch.setattr(media_links, "epoch_s", lambda: later_s)
        assert shop.client.get(f"/media/{good}").status_code == 404

    def test_one_ends_with_its_upload_and_its_business(
        self, shop: Shop, other_shop: Shop, services: WebServices
    ) -> None:
        addresses = [
            services.media_links.address(UUID(upload(one).json["media_id"])).partition(
                "timer.example"
            )[2]
            for one in (shop, other_shop)
        ]
        with services.database.transaction() as db:
            db.exec_driver_sql(
                "UPDATE uploads SET expires_at = clock_timestamp() WHERE business_id = %s",
                (shop.id,),
            )
            db.exec_driver_sql(
                "UPDATE businesses SET erased_at = clock_timestamp() WHERE id = %s",
                (other_shop.id,),
            )
        assert [shop.client.get(one).status_code for one in addresses] == [404, 404]
