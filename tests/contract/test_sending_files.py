"""What each gateway is asked when an uploaded file is to be sent, to the byte."""

from __future__ import annotations

import base64
import json
from email.parser import BytesParser
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_sending import ACCOUNTS, BAILEYS, DANA, ID, META, TWILIO, WAHA
from timer_service.messages import Media, ProviderName, SendFailure
from timer_service.providers import SENDERS
from timer_service.providers.file_body import FileBody, FileGone, as_json, new_mark
from timer_service.providers.sending import (
    GatewayAnswer,
    GatewayRequest,
    Outgoing,
    Refused,
    UploadedFile,
)

BYTES = b"\xff\xd8\xff" + bytes(range(256)) * 600
ADDRESS = "https://timer.example/media/token"


@pytest.fixture
def picture(tmp_path: Path) -> Outgoing:
    path = tmp_path / "id"
    path.write_bytes(BYTES)
    return Outgoing(
        ID,
        DANA,
        text='here "it" is',
        type="image",
        media=Media(mime_type="image/jpeg", file_name="a.jpg"),
        file=UploadedFile(path, len(BYTES), ADDRESS),
    )


def body_of(request: GatewayRequest) -> bytes:
    """Read all that is sent, of which the length must be the one that is told."""
    assert isinstance(request.body, FileBody)
    body = b"".join(request.body)
    assert len(body) == request.body.length
    return body


def test_waha_gets_the_file_in_the_message(picture: Outgoing) -> None:
    request = SENDERS[WAHA].build(picture, ACCOUNTS[WAHA])
    assert request.url == "http://waha.internal:3000/api/sendImage"
    sent = json.loads(body_of(request))
    assert base64.b64decode(sent["file"].pop("data"), validate=True) == BYTES
    assert sent == {
        "session": "default",
        "chatId": "972500000001@c.us",
        "file": {"mimetype": "image/jpeg", "filename": "a.jpg"},
        "caption": 'here "it" is',
    }


def test_evolution_gets_the_file_in_the_place_of_an_address(picture: Outgoing) -> None:
    request = SENDERS[BAILEYS].build(picture, ACCOUNTS[BAILEYS])
    assert request.url == "http://evolution.internal:8080/message/sendMedia/demo%20instance"
    sent = json.loads(body_of(request))
    assert base64.b64decode(sent.pop("media"), validate=True) == BYTES
    assert sent == {
        "number": "972500000001",
        "mediatype": "image",
        "mimetype": "image/jpeg",
        "caption": 'here "it" is',
        "fileName": "a.jpg",
    }


def test_twilio_gets_an_address_of_ours(picture: Outgoing) -> None:
    request = SENDERS[TWILIO].build(picture, ACCOUNTS[TWILIO])
    assert isinstance(request.body, bytes)
    assert dict(parse_qsl(request.body.decode()))["MediaUrl"] == ADDRESS


def test_meta_is_handed_the_file_first_and_then_told_its_id(picture: Outgoing) -> None:
    uploader = SENDERS[META].uploader
    assert uploader is not None
    request = uploader.build(picture, ACCOUNTS[META])
    assert request.url == "https://graph.facebook.com/v23.0/100000000000001/media"
    assert request.headers["Authorization"] == "Bearer meta-token"
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = {
        str(part.get_param("name", header="content-disposition")): part
        for part in BytesParser().parsebytes(head + body_of(request)).walk()
        if not part.is_multipart()
    }
    texts = {name: part.get_payload(decode=True) for name, part in parts.items()}
    assert texts == {"messaging_product": b"whatsapp", "type": b"image/jpeg", "file": BYTES}
    assert parts["file"].get_content_type() == "image/jpeg"
    media_id = uploader.read(GatewayAnswer(200, {}, b'{"id": "3000000000000001"}'))
    assert media_id == "3000000000000001"
    named = Outgoing(ID, DANA, text="here", type="image", media=Media(provider_media_id=media_id))
    request = SENDERS[META].build(named, ACCOUNTS[META])
    assert isinstance(request.body, bytes)
    assert json.loads(request.body)["image"] == {"id": "3000000000000001", "caption": "here"}


@pytest.mark.parametrize(
    ("status", "body", "failure", "is_retryable"),
    [
        (200, b"{}", SendFailure.TEMPORARY, True),
        (502, b"<html>", SendFailure.TEMPORARY, True),
        (400, b'{"error": {"code": 100}}', SendFailure.OTHER, False),
        (401, b'{"error": {"code": 190}}', SendFailure.AUTH, False),
        (400, b'{"error": {"code": 131053}}', SendFailure.CONTENT, False),
        (400, b'{"error": {"code": 130429}}', SendFailure.RATE, True),
    ],
)
def test_what_meta_says_to_a_file_never_leaves_a_message_unclear(
    status: int, body: bytes, failure: SendFailure, is_retryable: bool
) -> None:
    uploader = SENDERS[META].uploader
    assert uploader is not None
    refused = uploader.read(GatewayAnswer(status, {}, body))
    assert isinstance(refused, Refused)
    assert (refused.failure, refused.is_retryable) == (failure, is_retryable)


@pytest.mark.parametrize("provider", [META, WAHA, BAILEYS])
def test_a_file_that_is_gone_is_no_message(provider: ProviderName, picture: Outgoing) -> None:
    assert picture.file is not None
    picture.file.path.unlink()
    sender = SENDERS[provider]
    request = (sender.uploader or sender).build(picture, ACCOUNTS[provider])
    with pytest.raises(FileGone):
        body_of(request)


@given(st.text(), st.text(), st.binary(max_size=100))
def test_no_words_are_taken_for_the_file(
    tmp_path_factory: pytest.TempPathFactory, caption: str, name: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    mark = new_mark()
    caption = caption.encode("utf-8", "ignore").decode()
    name = name.encode("utf-8", "ignore").decode()
    document = {"caption": caption, "file": {"data": mark, "name": name}}
    body = as_json(document, path, len(content), mark)
    sent = json.loads(b"".join(body))
    assert base64.b64decode(sent["file"]["data"]) == content
    assert (sent["caption"], sent["file"]["name"]) == (caption, name)
