from __future__ import annotations

from typing import Any

import pytest

from tests.contract.waha_payloads import gows, inbound, message, noweb, read, the_event, told
from timer_service.messages import Media, Skipped

VOICE = "audio/ogg; codecs=opus"


class TestEngines:
    @pytest.mark.parametrize("build", [noweb, gows])
    @pytest.mark.parametrize(
        ("content", "type_", "text", "payload"),
        [
            ({"conversation": "hi"}, "text", "hi", None),
            ({"extendedTextMessage": {"text": "hi"}, "messageContextInfo": {}}, "text", "hi", None),
            ({"ephemeralMessage": {"message": {"conversation": "hi"}}}, "text", "hi", None),
            ({"imageMessage": {"caption": "c"}}, "image", "c", None),
            ({"audioMessage": {"ptt": True}}, "voice", "", None),
            ({"audioMessage": {"PTT": True}}, "voice", "", None),
            ({"audioMessage": {}}, "audio", "", None),
            ({"stickerMessage": {"mimetype": "image/webp"}}, "sticker", "", None),
            ({"locationMessage": {"degreesLatitude": 32.0}}, "location", "", None),
            ({"contactMessage": {"displayName": "Yael"}}, "contacts", "", None),
            (
                {"templateButtonReplyMessage": {"selectedId": "b", "selectedDisplayText": "B"}},
                "button_reply",
                "B",
                "b",
            ),
            (
                {"buttonsResponseMessage": {"selectedButtonID": "b", "selectedDisplayText": "B"}},
                "button_reply",
                "B",
                "b",
            ),
            (
                {"listResponseMessage": {"title": "T", "singleSelectReply": {"selectedRowID": 5}}},
                "list_reply",
                "T",
                None,
            ),
            (
                {
                    "listResponseMessage": {
                        "title": "T",
                        "singleSelectReply": {"selectedRowID": "r"},
                    }
                },
                "list_reply",
                "T",
                "r",
            ),
            ({"pollUpdateMessage": {"vote": {}}}, "unsupported", "", None),
            ({"newKindOfMessage": {"x": 1}}, "unsupported", "", None),
        ],
        ids=str,
    )
    def test_whatsapps_own_content_is_read_where_the_engine_passes_it_on(
        self, build: Any, content: Any, type_: str, text: str, payload: str | None
    ) -> None:
        event = inbound(build(content))
        assert (event.type, event.text, event.payload) == (type_, text, payload)

    @pytest.mark.parametrize(
        ("web_type", "changes", "type_", "text"),
        [
            ("chat", {}, "text", "hello"),
            ("chat", {"body": ""}, "text", ""),
            ("image", {"hasMedia": True}, "image", "hello"),
            ("ptt", {"hasMedia": True, "body": ""}, "voice", ""),
            ("document", {"media": {"mimetype": "image/png"}}, "document", "hello"),
            ("location", {"body": "iVBORw0KGgo="}, "location", ""),
            ("vcard", {"body": "BEGIN:VCARD"}, "contacts", ""),
            ("list_response", {}, "list_reply", "hello"),
            ("image", {"body": ""}, "image", ""),
            ("poll_creation", {"body": "Which one?"}, "unsupported", "Which one?"),
            ("", {"body": None}, "unsupported", ""),
            ("", {"body": ""}, "unsupported", ""),
            ("", {}, "text", "hello"),
            ({}, {}, "text", "hello"),
        ],
        ids=str,
    )
    def test_whatsapp_webs_types_are_read(
        self, web_type: Any, changes: Any, type_: str, text: str
    ) -> None:
        event = inbound(message(**changes, _data={"type": web_type}))
        assert (event.type, event.text) == (type_, text)

    @pytest.mark.parametrize(
        ("data", "payload"),
        [
            ({"listResponse": {"singleSelectReply": {"selectedRowId": "r"}}}, "r"),
            ({"selectedButtonId": "b"}, "b"),
            ({"selectedId": "t"}, "t"),
            ({}, None),
            ({"listResponse": [], "selectedButtonId": 5}, None),
        ],
        ids=str,
    )
    def test_what_was_chosen_is_found_in_whatsapp_webs_own_object(
        self, data: Any, payload: str | None
    ) -> None:
        assert inbound(message(_data={"type": "list_response"} | data)).payload == payload

    @pytest.mark.parametrize(
        ("name", "type_"), [("contactMessage", "contacts"), ("locationMessage", "location")]
    )
    def test_a_card_or_a_place_has_no_text_though_waha_shows_its_source(
        self, name: str, type_: str
    ) -> None:
        event = inbound(noweb({name: {"displayName": "Yael"}}, body="BEGIN:VCARD"))
        assert (event.type, event.text) == (type_, "")

    def test_text_that_only_waha_found_is_taken_from_it(self) -> None:
        event = inbound(noweb({"newKindOfMessage": {"x": 1}}, body="read by WAHA"))
        assert (event.type, event.text) == ("text", "read by WAHA")
        event = inbound(noweb({"interactiveResponseMessage": {"x": 1}}, body="read by WAHA"))
        assert (event.type, event.text) == ("button_reply", "read by WAHA")


class TestMedia:
    @pytest.mark.parametrize(
        ("mime_type", "type_"),
        [
            (VOICE, "voice"),
            ("audio/ogg; codecs=OPUS", "voice"),
            ("audio/mpeg", "audio"),
            ("image/jpeg", "image"),
            ("image/webp", "sticker"),
            ("video/mp4", "video"),
            ("application/pdf", "document"),
            ("text/plain", "document"),
            ("", "media"),
            (None, "media"),
            (7, "media"),
        ],
    )
    def test_what_no_engine_names_is_known_by_its_content_type(
        self, mime_type: Any, type_: str
    ) -> None:
        assert inbound(message(media={"mimetype": mime_type}, hasMedia=True)).type == type_

    def test_media_is_kept_by_reference(self) -> None:
        content = {"documentMessage": {"fileName": "a.pdf", "fileLength": "1234", "caption": "c"}}
        media = {"url": "http://waha:3000/api/files/1.pdf", "mimetype": "application/pdf"}
        event = inbound(noweb(content, media=media, hasMedia=True))
        assert (event.type, event.text) == ("document", "c")
        assert event.media == Media(
            mime_type="application/pdf",
            file_name="a.pdf",
            size_bytes=1234,
            url="http://waha:3000/api/files/1.pdf",
        )

    def test_whatsapp_web_tells_the_size(self) -> None:
        media = {"url": "https://waha.example/1.jpg", "filename": "1.jpg"}
        event = inbound(message(media=media, _data={"type": "image", "size": 99}))
        assert event.media == Media(file_name="1.jpg", size_bytes=99, url=media["url"])

    @pytest.mark.parametrize("size", [0, -1, 2**41, "x", None, True, {"low": 1}])
    def test_a_size_that_is_none_is_left_out(self, size: Any) -> None:
        event = inbound(message(hasMedia=True, _data={"type": "image", "size": size}))
        assert event.media is None

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "//x/y", "", None, 5])
    def test_only_an_address_that_can_be_fetched_is_kept(self, url: Any) -> None:
        event = inbound(message(hasMedia=True, media={"url": url, "mimetype": "image/png"}))
        assert event.media == Media(mime_type="image/png")

    def test_media_that_was_not_downloaded_is_still_a_turn(self) -> None:
        event = inbound(noweb({"imageMessage": {"mimetype": "image/jpeg"}}, hasMedia=True))
        assert (event.type, event.media) == ("image", Media(mime_type="image/jpeg"))


class TestPlacesAndCards:
    @pytest.mark.parametrize("numbers", [(32.5, 34.75), ("32.5", "34.75")])
    def test_a_place_is_kept_with_numbers(self, numbers: Any) -> None:
        latitude, longitude = numbers
        place = {"latitude": latitude, "longitude": longitude, "description": "Example Cafe"}
        event = inbound(message(location=place, body="iVBORw0KGgo="))
        assert (event.type, event.text) == ("location", "")
        assert event.extra == {"latitude": 32.5, "longitude": 34.75, "name": "Example Cafe"}

    def test_a_place_that_is_none_is_left_empty(self) -> None:
        event = inbound(message(location={"latitude": "north", "longitude": None, "name": 5}))
        assert (event.type, event.extra) == ("location", {})

    def test_an_object_without_a_place_is_none(self) -> None:
        event = inbound(message(location={"latitude": None, "longitude": None}))
        assert (event.type, event.text) == ("text", "hello")

    def test_cards_are_kept_with_their_names(self) -> None:
        card = "BEGIN:VCARD\nVERSION:3.0\nFN;CHARSET=UTF-8:Yael Levi\r\nTEL:+972\nEND:VCARD"
        event = inbound(message(vCards=[card, "no card", None] + ["x"] * 20, body=card))
        assert (event.type, event.text) == ("contacts", "")
        cards = event.extra["contacts"]
        assert cards[:3] == [
            {"name": "Yael Levi", "vcard": card},
            {"name": "", "vcard": "no card"},
            {"name": "", "vcard": ""},
        ]
        assert len(cards) == 10


class TestNoTurns:
    @pytest.mark.parametrize(
        "web_type",
        ["e2e_notification", "notification_template", "gp2", "call_log", "protocol", "revoked"],
    )
    def test_whatsapps_own_notices_open_nothing(self, web_type: str) -> None:
        assert read(body="", _data={"type": web_type}) == Skipped(reason="system")

    @pytest.mark.parametrize("build", [noweb, gows])
    @pytest.mark.parametrize(
        "content",
        [
            {"protocolMessage": {"type": 0, "key": {"id": "X"}}},
            {"protocolMessage": {"type": 14, "editedMessage": {"conversation": "new"}}},
            {"reactionMessage": {"text": "👍", "key": {"id": "X"}}},
            {"pinInChatMessage": {"type": 1}},
        ],
        ids=str,
    )
    def test_what_has_events_of_its_own_or_none_is_no_message(
        self, build: Any, content: Any
    ) -> None:
        event = the_event(told("message.any", build(content)))
        assert event == Skipped(reason="system")

    @pytest.mark.parametrize("build", [noweb, gows])
    @pytest.mark.parametrize("content", [None, {}, {"messageContextInfo": {}}, "x", []], ids=str)
    def test_what_could_not_be_decrypted_is_skipped_for_its_second_coming(
        self, build: Any, content: Any
    ) -> None:
        event = the_event(told("message.any", build(content)))
        assert event == Skipped(reason="undecryptable")
        assert read(body="", _data={"type": "ciphertext"}) == event
        assert inbound(build(content, body="read by WAHA")).text == "read by WAHA"

    def test_a_view_once_that_linked_devices_never_get_is_a_turn(self) -> None:
        assert inbound(noweb(None, {"isViewOnce": True})).type == "unsupported"
