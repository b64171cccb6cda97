"""Sending what was uploaded: by all four gateways, once, and never unclear before it is sent."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.builders import DANA, World, work_off, working_environment
from tests.support.fake_gateway import FakeGateway, takes_and_hangs
from tests.support.fake_media_gateway import PICTURE
from tests.support.fake_model import Reply
from timer_service import gateway_http
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.file_types import MB
from timer_service.ids import BusinessId, ConnectionId
from timer_service.job_queue import SENDS_QUEUE
from timer_service.media_files import MediaFiles, Shelf
from timer_service.media_keeper import MediaKeeper
from timer_service.media_links import MediaLinks
from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import ProviderName
from timer_service.outgoing import Decision, MessageToSend, Outbox
from timer_service.resources import Message, Upload
from timer_service.uploads import Uploads

HANDED = Reply(200, b'{"id": "3000000000000007"}')


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as gateway:
        yield gateway


class Desk:
    """A shop whose customer wrote a moment ago, and its folder of files."""

    def __init__(self, world: World, gateway: FakeGateway, folder: Path) -> None:
        self.world, self.gateway, self.folder = world, gateway, folder
        self.files = MediaFiles(folder, quota_bytes=4 * MB, min_free_bytes=0)
        self.uploads = Uploads(world.database, self.files, most_bytes=MB)
        self.keeper = MediaKeeper(world.database, self.files, folder)
        self.outbox = Outbox(world.database, world.intake, world.follow_up)

    def link(self, provider: ProviderName, **secrets: str) -> ConnectionId:
        world = self.world
        connection_id = world.add_connection(f"{uuid4().hex}:+15550009999", provider)
        values = {"base_url": self.gateway.url, "secrets": secrets}
        world.administration.change_connection(world.business_id, connection_id, values)
        world.record(world.heard(), connection_id=connection_id)
        return connection_id

    def upload(self, content: bytes = PICTURE, name: str | None = "blue.jpg") -> Upload:
        with self.uploads.begin(self.world.business_id) as incoming:
            for at in range(0, len(content), 1000):
                incoming.write(content[at : at + 1000])
            return self.uploads.keep(self.world.business_id, incoming, name)

    def send(self, connection_id: ConnectionId, media: dict[str, Any], **more: Any) -> Message:
        new = MessageToSend.model_validate(
            {"connection_id": connection_id, "to": DANA.phone, "media": media, **more}
        )
        return self.outbox.send(self.world.business_id, new)

    def work(self) -> None:
        with working_environment(
            self.world, TIMER_MEDIA_DIR=str(self.folder), TIMER_PUBLIC_URL="https://timer.example"
        ):
            work_off(self.world, SENDS_QUEUE)

    def now(self, message: Message) -> Message:
        return self.outbox.message(self.world.business_id, message.id)


@pytest.fixture
def desk(world: World, gateway: FakeGateway, tmp_path: Path) -> Desk:
    return Desk(world, gateway, tmp_path / "media")


def test_meta_is_handed_the_file_and_then_told_to_send_it(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.META, access_token="meta-token")
    desk.gateway.will(HANDED)
    upload = desk.upload()
    media = {"media_id": upload.media_id, "caption": "here"}
    message = desk.send(connection_id, media)
    assert (message.type, message.text, message.status) == ("image", "here", "queued")
    assert message.media == {
        "mime_type": "image/jpeg",
        "file_name": "blue.jpg",
        "size_bytes": len(PICTURE),
        "sha256": upload.sha256,
    }
    desk.work()
    handed, sent = desk.gateway.requests
    assert handed.path.endswith("/media")
    assert PICTURE in handed.body
    assert sent.document["image"] == {"id": "3000000000000007", "caption": "here"}
    assert desk.now(message).status == "sent"


@pytest.mark.parametrize("provider", [ProviderName.WAHA, ProviderName.BAILEYS])
def test_waha_and_evolution_get_it_in_the_message(desk: Desk, provider: ProviderName) -> None:
    connection_id = desk.link(provider, api_key="key")
    message = desk.send(connection_id, {"media_id": desk.upload().media_id})
    desk.work()
    (sent,) = desk.gateway.requests
    document = sent.document
    given = document["file"]["data"] if provider is ProviderName.WAHA else document["media"]
    assert base64.b64decode(given) == PICTURE
    assert desk.now(message).status == "sent"


def test_twilio_gets_an_address_that_opens_this_file_and_no_other(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.TWILIO, auth_token="token")
    upload = desk.upload()
    message = desk.send(connection_id, {"media_id": upload.media_id})
    desk.work()
    (sent,) = desk.gateway.requests
    before, _, token = sent.document["MediaUrl"].rpartition("/")
    assert before == "https://timer.example/media"
    links = MediaLinks([desk.world.encryption_key], "")
    assert links.read(token) == upload.media_id
    assert desk.now(message).status == "sent"


@pytest.mark.parametrize("fault", [takes_and_hangs(), Reply(502, b"<html>"), Reply(200, b"{}")])
def test_what_stays_unclear_before_the_message_is_tried_again_and_sent_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Reply
) -> None:
    monkeypatch.setattr(gateway_http, "FILE_TIMEOUT_S", 0.2)
    connection_id = desk.link(ProviderName.META, access_token="meta-token")
    desk.gateway.will(fault, HANDED)
    message = desk.send(connection_id, {"media_id": desk.upload().media_id})
    desk.work()
    assert desk.now(message).status == "sending"
    desk.world.let_pass(60)
    desk.world.queue_redis.flushdb()
    desk.world.sweeper.sweep_once()
    desk.work()
    assert desk.now(message).status == "sent"
    assert [one.path.rpartition("/")[2] for one in desk.gateway.requests] == [
        "media", "media", "messages",
    ]  # fmt: skip


def test_a_file_that_is_gone_fails_with_a_reason_and_nobody_is_asked(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    upload = desk.upload()
    message = desk.send(connection_id, {"media_id": upload.media_id})
    desk.files.remove(Shelf.UPLOADS, upload.media_id)
    desk.work()
    failed = desk.now(message)
    assert (failed.status, failed.failure, failed.retryable) == ("failed", "content", False)
    assert desk.gateway.requests == []


def test_an_upload_lasts_a_day_after_its_last_use_and_then_its_file_goes(desk: Desk) -> None:
    world = desk.world
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    kept, ended = desk.upload(), desk.upload()

    def pass_hours(hours: int) -> None:
        world.run(f"UPDATE uploads SET expires_at = expires_at - interval '{hours} hours'")

    pass_hours(20)
    desk.send(connection_id, {"media_id": kept.media_id})
    pass_hours(10)
    with pytest.raises(InvalidInput) as caught:
        desk.send(connection_id, {"media_id": ended.media_id})
    assert caught.value.field == "media.media_id"
    for one in (kept, ended):
        _age(desk, one.media_id)
    assert desk.keeper.keep_once() == 1
    assert [one.id for one in desk.files.kept(Shelf.UPLOADS)] == [kept.media_id]
    assert world.read("SELECT id FROM uploads")[0]["id"] == kept.media_id
    pass_hours(30)
    _age(desk, kept.media_id)
    assert desk.keeper.keep_once() == 1


def _age(desk: Desk, upload_id: UUID) -> None:
    os.utime(desk.files.path(Shelf.UPLOADS, upload_id), (0, 0))


def test_a_file_whose_row_never_came_is_cleared_up_but_not_at_once(desk: Desk) -> None:
    with desk.uploads.begin(desk.world.business_id) as incoming:
        incoming.write(PICTURE)
        incoming.draft.publish()  # and killed before the row
    assert desk.keeper.keep_once() == 0
    _age(desk, incoming.id)
    assert desk.keeper.keep_once() == 1


def test_anothers_upload_is_not_there(desk: Desk) -> None:
    world = desk.world
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    other, _ = world.administration.add_business({"name": "Other"})
    with desk.uploads.begin(BusinessId(other.id)) as incoming:
        incoming.write(PICTURE)
        theirs = desk.uploads.keep(BusinessId(other.id), incoming, None)
    for media_id in (theirs.media_id, uuid4()):
        with pytest.raises(InvalidInput, match="no such upload"):
            desk.send(connection_id, {"media_id": media_id})


def test_the_uploads_of_an_erased_business_go_with_it(desk: Desk) -> None:
    upload = desk.upload()
    desk.world.administration.erase_business(desk.world.business_id)
    _age(desk, upload.media_id)
    assert desk.keeper.keep_once() == 1
    assert list(desk.files.kept(Shelf.UPLOADS)) == []


def test_a_file_that_comes_in_while_its_business_is_erased_is_nobodys(desk: Desk) -> None:
    with desk.uploads.begin(desk.world.business_id) as incoming:
        incoming.write(PICTURE)
        desk.world.administration.erase_business(desk.world.business_id)
        with pytest.raises(NotFound):
            desk.uploads.keep(desk.world.business_id, incoming, None)
    assert list(desk.files.kept(Shelf.UPLOADS)) == []


def test_a_reference_names_the_message_when_its_file_is_long_gone(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    upload = desk.upload()
    media = {"media_id": upload.media_id, "caption": "here"}
    first = desk.send(connection_id, media, client_ref="offer-1")
    assert desk.send(connection_id, media, client_ref="offer-1").id == first.id
    desk.world.run("DELETE FROM uploads")
    assert desk.send(connection_id, media, client_ref="offer-1").id == first.id
    for other in ({**media, "caption": "there"}, {"media_id": uuid4(), "caption": "here"},
                  {**media, "type": "document"}):  # fmt: skip
        with pytest.raises(Conflict):
            desk.send(connection_id, other, client_ref="offer-1")


def test_a_picture_can_be_sent_as_a_document_but_not_as_a_film(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    media_id = desk.upload().media_id
    message = desk.send(
        connection_id, {"media_id": media_id, "type": "document", "file_name": "offer.jpg"}
    )
    assert message.type == "document"
    assert message.media is not None
    assert message.media["file_name"] == "offer.jpg"
    with pytest.raises(InvalidInput, match="expected image or document"):
        desk.send(connection_id, {"media_id": media_id, "type": "video"})


def test_one_business_does_not_fill_the_folder(desk: Desk) -> None:
    desk.upload(PICTURE + bytes(MB // 2))
    with pytest.raises(MediaTrouble) as caught:
        desk.upload(PICTURE + bytes(MB * 3 // 4))
    assert caught.value.reason is Reason.TOO_LARGE
    desk.upload(PICTURE + bytes(MB // 2 - 2 * len(PICTURE)))
    with pytest.raises(Conflict, match="fill their room"):
        desk.upload()
    assert sum(one.size_bytes for one in desk.files.kept(Shelf.UPLOADS)) == MB


def test_what_is_sent_twice_by_decision_has_its_file_twice(desk: Desk) -> None:
    connection_id = desk.link(ProviderName.WAHA, api_key="key")
    desk.gateway.will(Reply(400, json.dumps({"message": "no"}).encode()))
    message = desk.send(connection_id, {"media_id": desk.upload().media_id})
    desk.work()
    assert desk.now(message).status == "failed"
    desk.outbox.decide(desk.world.business_id, message.id, Decision.SEND_AGAIN)
    desk.work()
    assert desk.now(message).status == "sent"
    assert base64.b64decode(desk.gateway.requests[1].document["file"]["data"]) == PICTURE
