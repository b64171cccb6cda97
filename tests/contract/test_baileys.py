from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.baileys_payloads import (
    CUSTOMER,
    CUSTOMER_LID,
    OWN_JID,
    OWN_NUMBER,
    TOKEN,
    evolution,
    inbound,
    message,
    parse,
    read,
    the_event,
)
from tests.contract.sample_files import body_of
from timer_service.messages import (
    Author,
    ConnectionUpdate,
    ContactIds,
    DeliveryStatus,
    InboundMessage,
    OwnMessage,
    ParsedItem,
    Skipped,
)
from timer_service.providers.baileys import event_name_in_path


class TestEventNames:
    @pytest.mark.parametrize(
        ("parts", "name"),
        [
            ((), None),
            (("messages-upsert",), "messages.upsert"),
            (("MESSAGES_UPSERT",), "messages.upsert"),
            ((TOKEN,), None),
            (("send-message-token",), None),
            ((TOKEN, "connection-update"), "connection.update"),
            ((TOKEN, "presence-update"), "presence.update"),
            ((TOKEN, "../etc"), None),
            ((TOKEN, ""), None),
        ],
    )
    def test_the_path_may_name_the_event(self, parts: tuple[str, ...], name: str | None) -> None:
        assert event_name_in_path(parts) == name

    @pytest.mark.parametrize("name", ["messages.upsert", "MESSAGES_UPSERT", "messages-upsert"])
    def test_names_are_read_in_every_spelling(self, name: str) -> None:
        assert isinstance(the_event(evolution(name, message())), InboundMessage)

    def test_the_body_names_the_event_before_the_path_does(self) -> None:
        document = evolution("messages.upsert", message())
        assert isinstance(the_event(document, event_name="connection.update"), InboundMessage)
        del document["event"]
        document["data"] = {"state": "open"}
        assert isinstance(the_event(document, event_name="connection.update"), ConnectionUpdate)

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            ("presence.update", "system"),
            ("chats.upsert", "system"),
            ("messages.reaction", "system"),
            ("message-receipt.update", "system"),
            ("error", "system"),
            ("instance.create", "system"),
            ("something.new", "unknown"),
            ("chats.set", "history"),
            ("messaging-history.set", "history"),
        ],
    )
    def test_other_events_are_skipped_even_with_a_message_inside(
        self, event: str, reason: str
    ) -> None:
        assert the_event(evolution(event, message())) == Skipped(reason=reason)

    @pytest.mark.parametrize("document", [{}, [], {"data": None}, [[]], {"payload": 5}], ids=str)
    def test_a_body_that_means_nothing_is_counted(self, document: Any) -> None:
        assert parse(document) == [ParsedItem(account=None, event=Skipped(reason="unknown"))]


class TestWrappers:
    @pytest.mark.parametrize(
        "envelope",
        [
            {"instance": "shop"},
            {"instance": {"instanceName": "shop"}},
            {"session": "shop"},
            {"sessionId": "shop"},
            {"tenantId": "shop"},
            {"instance": None, "session": 7, "sessionId": "shop"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("holder", ["data", "payload"])
    @pytest.mark.parametrize(
        "shape",
        [
            message(),
            [message()],
            {"messages": [message()], "type": "notify"},
            {"messages": message()},
        ],
        ids=["object", "list", "messages list", "messages object"],
    )
    @pytest.mark.parametrize("named", [True, False])
    def test_every_wrapper_around_a_message_is_opened(
        self, envelope: Any, holder: str, shape: Any, named: bool
    ) -> None:
        document = envelope | {holder: shape} | ({"event": "messages.upsert"} if named else {})
        (item,) = parse(document)
        assert item.account == "shop"
        assert isinstance(item.event, InboundMessage)
        assert item.event.text == "hello"

    def test_a_bare_list_is_read_element_by_element(self) -> None:
        status = {
            "key": {"remoteJid": CUSTOMER, "fromMe": True, "id": "X"},
            "update": {"status": 4},
        }
        items = parse([message(), status, 5, {"event": "messages.upsert", "data": message()}])
        kinds = [type(item.event) for item in items]
        assert kinds == [InboundMessage, DeliveryStatus, Skipped, InboundMessage]

    def test_an_envelope_may_hold_the_event_itself(self) -> None:
        document = {"event": "messages.upsert", "session": "shop", "messages": [message()]}
        (item,) = parse(document)
        assert (item.account, type(item.event)) == ("shop", InboundMessage)

    def test_in_a_bridges_envelope_sender_is_not_our_number(self) -> None:
        document = {"session": "shop", "sender": CUSTOMER, "data": message()}
        assert isinstance(the_event(document), InboundMessage)

    def test_a_history_chunk_without_a_name_is_recognised(self) -> None:
        document = {"chats": [], "contacts": [], "messages": [message()]}
        assert the_event(document) == Skipped(reason="history")

    @pytest.mark.parametrize(
        "account", ["", " ", "x" * 256, "a\x00", 5, ["x"], {"instanceName": 5}]
    )
    def test_an_account_that_is_no_name_is_none(self, account: Any) -> None:
        (item,) = parse({"instance": account, "data": message()})
        assert item.account is None


class TestCustomer:
    @pytest.mark.parametrize(
        ("key", "contact"),
        [
            ({}, ContactIds(phone="972500000001")),
            ({"remoteJid": "972500000001:3@s.whatsapp.net"}, ContactIds(phone="972500000001")),
            ({"remoteJid": "972500000001_1:3@hosted"}, ContactIds(phone="972500000001")),
            (
                {"remoteJid": CUSTOMER_LID, "remoteJidAlt": CUSTOMER},
                ContactIds(phone="972500000001", lid="111111111111111"),
            ),
            (
                {"previousRemoteJid": CUSTOMER_LID, "remoteJidAlt": CUSTOMER},
                ContactIds(phone="972500000001", lid="111111111111111"),
            ),
            ({"remoteJid": CUSTOMER_LID, "remoteJidAlt": OWN_JID}, ContactIds(lid="1" * 15)),
        ],
        ids=str,
    )
    def test_phone_and_hidden_id_are_found_wherever_they_stand(
        self, key: Any, contact: ContactIds
    ) -> None:
        assert inbound(key=key).contact == contact

    def test_our_own_messages_never_take_a_hidden_id_from_beside(self) -> None:
        ours = {"fromMe": True, "remoteJidAlt": "222222222222222@lid", "senderLid": "333333@lid"}
        event = read(key=ours)
        assert isinstance(event, OwnMessage)
        assert event.contact == ContactIds(phone="972500000001")

    def test_our_own_message_to_a_hidden_id_takes_a_phone_known_not_to_be_ours(self) -> None:
        key = {"fromMe": True, "remoteJid": CUSTOMER_LID, "remoteJidAlt": CUSTOMER}
        document = {"messages": [message(key=key)], "type": "notify"}
        known = the_event(document, own_number=OWN_NUMBER)
        unknown = the_event(document)
        assert isinstance(known, OwnMessage)
        assert isinstance(unknown, OwnMessage)
        assert known.contact == ContactIds(phone="972500000001", lid="1" * 15)
        assert unknown.contact == ContactIds(lid="1" * 15)

    def test_our_own_chat_is_skipped(self) -> None:
        assert read(key={"remoteJid": OWN_JID, "fromMe": True}) == Skipped(reason="self")
        assert read(key={"remoteJid": OWN_JID}) == Skipped(reason="own_number")

    @pytest.mark.parametrize("flag", [True, 1, "true"])
    def test_a_flag_of_a_bridge_in_another_language_is_understood(self, flag: Any) -> None:
        assert isinstance(read(key={"fromMe": flag}), OwnMessage)

    @pytest.mark.parametrize(
        ("jid", "reason"),
        [
            ("120363000000000001@g.us", "group"),
            ("972500000001-1500000000@g.us", "group"),
            ("status@broadcast", "status_broadcast"),
            ("1600000000@broadcast", "broadcast"),
            ("120363000000000002@newsletter", "newsletter"),
            ("867051314767696@bot", "system"),
            ("0@s.whatsapp.net", "unknown"),
            ("", "unknown"),
            (None, "unknown"),
            (["x"], "unknown"),
        ],
    )
    def test_chats_that_are_no_customers_are_skipped(self, jid: Any, reason: str) -> None:
        assert read(key={"remoteJid": jid}) == Skipped(reason=reason)
        assert read(key={"remoteJid": jid, "fromMe": True}) == Skipped(reason=reason)

    def test_our_profiles_name_is_not_the_customers(self) -> None:
        event = read(key={"fromMe": True}, pushName="Você")
        assert isinstance(event, OwnMessage)
        assert event.customer_name is None


class TestAuthor:
    @pytest.mark.parametrize(
        ("event", "kind", "author"),
        [
            ("messages.upsert", None, Author.AGENT),
            ("messages.upsert", "notify", Author.AGENT),
            ("messages.upsert", "append", Author.BOT),
            ("send.message", None, Author.BOT),
        ],
    )
    def test_the_phone_is_the_agent_and_a_program_is_the_bot(
        self, event: str, kind: str | None, author: Author
    ) -> None:
        data = {"messages": [message(key={"fromMe": True})]} | ({"type": kind} if kind else {})
        parsed = the_event(evolution(event, data))
        assert isinstance(parsed, OwnMessage)
        assert parsed.author is author

    def test_what_customers_wrote_while_we_were_offline_is_theirs(self) -> None:
        event = the_event({"messages": [message()], "type": "append"})
        assert isinstance(event, InboundMessage)


class TestContent:
    def test_wrappers_are_opened_however_often_they_are_nested(self) -> None:
        content: Any = {"imageMessage": {"caption": "inside"}}
        for wrapper in ("viewOnceMessageV2", "ephemeralMessage", "deviceSentMessage"):
            content = {"messageContextInfo": {}, wrapper: {"message": content}}
        assert (inbound(content).type, inbound(content).text) == ("image", "inside")

    def test_wrappers_without_end_are_a_turn_nobody_can_read(self) -> None:
        content: Any = {"conversation": "too deep"}
        for _ in range(100):
            content = {"ephemeralMessage": {"message": content}}
        assert inbound(content).type == "unsupported"

    @pytest.mark.parametrize(
        ("content", "type_", "text", "payload"),
        [
            ({"conversation": ""}, "text", "", None),
            ({"imageMessage": None, "conversation": "a"}, "text", "a", None),
            ({"conversation": "", "imageMessage": {"caption": "c"}}, "image", "c", None),
            ({"newKind": {"x": 1}, "imageMessage": {"caption": "c"}}, "image", "c", None),
            ({"liveLocationMessage": {"caption": "here"}}, "location", "here", None),
            ({"ptvMessage": {}}, "video", "", None),
            (
                {"buttonsResponseMessage": {"selectedButtonId": "b", "selectedDisplayText": "B"}},
                "button_reply",
                "B",
                "b",
            ),
            (
                {"interactiveResponseMessage": {"nativeFlowResponseMessage": {"paramsJson": "{"}}},
                "button_reply",
                "",
                None,
            ),
            (
                {"orderMessage": {"message": "two, please", "itemCount": 2}},
                "order",
                "two, please",
                None,
            ),
            ({"pollUpdateMessage": {"vote": {}}}, "unsupported", "", None),
            ({"conversation": 5}, "unsupported", "", None),
            ({"extendedTextMessage": {"text": None}}, "unsupported", "", None),
            ({"imageMessage": "no object"}, "unsupported", "", None),
            ({"newKindOfMessage": {"x": 1}}, "unsupported", "", None),
            ({"viewOnceMessageV2": {"message": None}}, "unsupported", "", None),
        ],
        ids=str,
    )
    def test_content_is_read_by_its_own_name(
        self, content: Any, type_: str, text: str, payload: str | None
    ) -> None:
        event = inbound(content)
        assert (event.type, event.text, event.payload) == (type_, text, payload)

    @pytest.mark.parametrize(
        "content",
        [
            None,
            {},
            {"messageContextInfo": {}},
            {"conversation": None},
            {"ephemeralMessage": {"message": {"messageContextInfo": {}}}},
            "text",
            [],
        ],
        ids=str,
    )
    def test_what_could_not_be_decrypted_is_skipped_for_its_second_coming(
        self, content: Any
    ) -> None:
        data = message() | {"message": content}
        assert the_event(evolution("messages.upsert", data)) == Skipped(reason="undecryptable")

    @pytest.mark.parametrize("element", [None, 5, {}, {"body": "hi", "from": CUSTOMER}], ids=str)
    def test_what_is_no_message_object_is_unknown(self, element: Any) -> None:
        event = the_event(evolution("messages.upsert", [element]))
        assert event == Skipped(reason="unknown")

    def test_a_view_once_that_linked_devices_never_get_is_a_turn(self) -> None:
        data = message(key={"isViewOnce": True}) | {"message": None}
        event = the_event(evolution("messages.upsert", data))
        assert isinstance(event, InboundMessage)
        assert event.type == "unsupported"

    @pytest.mark.parametrize(
        "content",
        [
            {"protocolMessage": {"type": 3, "ephemeralExpiration": 86400}},
            {"protocolMessage": {"type": 5}},
            {"protocolMessage": {"type": "APP_STATE_SYNC_KEY_SHARE"}},
            {"protocolMessage": {}},
            {"secretEncryptedMessage": {"targetMessageKey": {"id": "X"}}},
            {"encReactionMessage": {}},
            {"pinInChatMessage": {"type": 1}},
        ],
        ids=str,
    )
    def test_machinery_is_no_turn(self, content: Any) -> None:
        assert read(content) == Skipped(reason="system")

    def test_media_keep_their_size_and_only_a_url_that_can_be_fetched(self) -> None:
        body = {
            "url": "https://mmg.whatsapp.net/enc",
            "mimetype": "application/pdf",
            "fileName": "contract.pdf",
            "fileLength": {"low": -1, "high": 0},
        }
        event = inbound({"documentMessage": body, "mediaUrl": "https://files.example/1.pdf"})
        assert event.media is not None
        assert event.media.as_json() == {
            "mime_type": "application/pdf",
            "file_name": "contract.pdf",
            "size_bytes": 2**32 - 1,
            "url": "https://files.example/1.pdf",
        }
        event = inbound({"documentMessage": body, "mediaUrl": "file:///etc/passwd"})
        assert event.media is not None
        assert event.media.url is None

    def test_a_voice_notes_transcript_is_kept_beside_it(self) -> None:
        (item,) = parse(body_of("evolution/voice_note.json"))
        assert isinstance(item.event, InboundMessage)
        assert item.event.extra == {"transcript": "hello there"}

    def test_a_quote_is_found_inside_the_content_or_beside_the_message(self) -> None:
        quote = {"contextInfo": {"stanzaId": "3EB0"}}
        assert inbound({"extendedTextMessage": {"text": "yes"} | quote}).reply_to == "3EB0"
        assert inbound(**quote).reply_to == "3EB0"

    @pytest.mark.parametrize("bad", ["", "i" * 256, "a\x00b", "\ud800", None, 7])
    def test_a_message_without_a_usable_id_is_skipped(self, bad: Any) -> None:
        assert read(key={"id": bad}) == Skipped(reason="unknown")


def test_a_long_timestamp_and_one_in_milliseconds_are_the_same_instant() -> None:
    written: list[Any] = [1767261660, "1767261660", 1767261660000, {"low": 1767261660, "high": 0}]
    instants = {inbound(messageTimestamp=one).sent_at for one in written}
    assert instants == {datetime(2026, 1, 1, 10, 1, tzinfo=UTC)}
