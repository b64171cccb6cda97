from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from tests.contract.waha_payloads import (
    CUSTOMER,
    CUSTOMER_LID,
    OWN_CHAT,
    OWN_LID,
    OWN_NUMBER,
    gows,
    inbound,
    message,
    noweb,
    own,
    parse,
    read,
    the_event,
    told,
)
from timer_service.messages import (
    Author,
    ContactIds,
    Delivery,
    InboundMessage,
    OwnMessage,
    ParsedItem,
    Skipped,
)

HIDDEN: dict[str, Any] = {"id": f"false_{CUSTOMER_LID}_AC01", "from": CUSTOMER_LID}
BOTH_IDS = ContactIds(phone="972500000001", lid="1" * 15)


class TestEnvelope:
    @pytest.mark.parametrize("event", ["message", "message.any"])
    def test_both_message_events_bring_the_same_message_under_the_same_id(self, event: str) -> None:
        parsed = the_event(told(event, message()))
        assert isinstance(parsed, InboundMessage)
        assert parsed == read()
        assert parsed.provider_message_id == "AC01"

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            ("state.change", "system"),
            ("presence.update", "system"),
            ("poll.created", "system"),
            ("poll.vote.failed", "undecryptable"),
            ("group.v2.join", "system"),
            ("call.received", "system"),
            ("engine.event", "system"),
            ("event.response.failed", "system"),
            ("message.waiting", "undecryptable"),
            ("message.something.new", "unknown"),
            ("something.new", "unknown"),
            ("", "unknown"),
        ],
    )
    def test_other_events_are_skipped_even_with_a_message_inside(
        self, event: str, reason: str
    ) -> None:
        assert the_event(told(event, message())) == Skipped(reason=reason)

    def test_an_old_envelope_without_id_time_and_me_is_read(self) -> None:
        document = {"event": "message", "session": "default", "payload": message()}
        (item,) = parse(document)
        assert (item.account, type(item.event)) == ("default", InboundMessage)

    @pytest.mark.parametrize("session", ["", " ", "x" * 256, "a\x00", 5, ["x"], None])
    def test_a_session_that_is_no_name_is_none(self, session: Any) -> None:
        (item,) = parse(told("message", message(), session=session))
        assert item.account is None

    @pytest.mark.parametrize(
        "document", [{}, [], [[]], {"event": "message"}, {"payload": 5}, told("message.ack", None)]
    )
    def test_a_body_that_means_nothing_is_counted(self, document: Any) -> None:
        (item,) = parse(document)
        assert isinstance(item, ParsedItem)
        assert isinstance(item.event, Skipped)

    def test_a_list_of_events_is_read_one_by_one(self) -> None:
        items = parse([told("message", message()), 5, told("message", None), told("x", {})])
        assert [type(item.event) for item in items] == [InboundMessage, Skipped, Skipped, Skipped]

    @pytest.mark.parametrize("timestamp", [1767261660, "1767261660", 1767261660.0, 1767261660000])
    def test_a_messages_time_may_be_written_in_any_way(self, timestamp: Any) -> None:
        at = inbound(message(timestamp=timestamp)).sent_at
        assert at == datetime(2026, 1, 1, 10, 1, tzinfo=UTC)

    def test_a_message_without_a_time_counts_when_it_was_told(self) -> None:
        at = inbound(message(timestamp=None)).sent_at
        assert at == datetime(2026, 1, 1, 10, 1, 1, 591000, tzinfo=UTC)


class TestIds:
    @pytest.mark.parametrize(
        ("written", "bare"),
        [
            (f"false_{CUSTOMER}_AC01", "AC01"),
            (f"true_{CUSTOMER}_AC01", "AC01"),
            (f"{CUSTOMER}_AC01", "AC01"),
            (f"false_{CUSTOMER_LID}_AC01_{CUSTOMER}", "AC01"),
            ("false_972500000001_1@c.us_AC01", "AC01"),
            ("AC01", "AC01"),
            ("AC-01.x=", "AC-01.x="),
        ],
    )
    def test_the_id_is_whatsapps_own_however_it_is_dressed(self, written: str, bare: str) -> None:
        assert inbound(message(id=written)).provider_message_id == bare
        assert inbound(message(replyTo={"id": written})).reply_to == bare

    @pytest.mark.parametrize(
        "bad",
        ["", " ", f"false_{CUSTOMER}_", f"false_{CUSTOMER}", CUSTOMER, "i" * 256, "a\x00", None, 7],
    )
    def test_a_message_without_a_usable_id_is_skipped(self, bad: Any) -> None:
        assert read(id=bad) == Skipped(reason="unknown")

    @pytest.mark.parametrize("bad", [None, {}, {"id": None}, {"id": f"false_{CUSTOMER}_"}, "AC01"])
    def test_a_quote_nobody_can_name_is_none(self, bad: Any) -> None:
        assert inbound(message(replyTo=bad)).reply_to is None

    @pytest.mark.parametrize("name", ["stanzaId", "stanzaID"])
    def test_a_quote_only_the_engine_tells_is_found(self, name: str) -> None:
        content = {"extendedTextMessage": {"text": "yes", "contextInfo": {name: "3EB0"}}}
        assert inbound(noweb(content)).reply_to == "3EB0"
        assert inbound(gows(content)).reply_to == "3EB0"


class TestCustomer:
    @pytest.mark.parametrize(
        "payload",
        [
            noweb(
                {"conversation": "a"},
                {"remoteJid": CUSTOMER_LID, "remoteJidAlt": "972500000001@s.whatsapp.net"},
                **HIDDEN,
            ),
            noweb(
                {"conversation": "a"},
                {"remoteJid": CUSTOMER_LID, "senderPn": "972500000001@s.whatsapp.net"},
                **HIDDEN,
            ),
            gows(
                {"conversation": "a"},
                {"SenderAlt": "972500000001:7@s.whatsapp.net", "RecipientAlt": ""},
                **HIDDEN,
            ),
            message(id=f"false_{CUSTOMER_LID}_AC01"),
            message(**{"id": f"false_{CUSTOMER}_AC01", "from": CUSTOMER_LID}),
        ],
        ids=["noweb 7", "noweb 6", "gows", "id", "from"],
    )
    def test_phone_and_hidden_id_are_found_wherever_they_stand(self, payload: Any) -> None:
        assert inbound(payload).contact == BOTH_IDS

    def test_a_customer_may_have_a_hidden_id_only(self) -> None:
        payload = gows({"conversation": "a"}, **HIDDEN)
        assert inbound(payload).contact == ContactIds(lid="1" * 15)

    @pytest.mark.parametrize(
        ("from_", "to"), [(OWN_CHAT, CUSTOMER), (CUSTOMER, None), (CUSTOMER, OWN_CHAT)]
    )
    def test_our_own_message_is_the_chats_whatever_from_says(self, from_: str, to: Any) -> None:
        assert own(**{"from": from_, "to": to}).contact == ContactIds(phone="972500000001")

    @pytest.mark.parametrize(
        "data",
        [
            {"key": {"remoteJid": "972500000001@s.whatsapp.net"}},
            {"Info": {"Chat": "972500000001@s.whatsapp.net"}},
            {"id": {"remote": CUSTOMER}},
        ],
        ids=["noweb", "gows", "webjs"],
    )
    @pytest.mark.parametrize("from_me", [True, False])
    def test_a_bare_id_leaves_the_chat_to_the_engine(self, data: Any, from_me: bool) -> None:
        event = read(**{"id": "AC01", "from": None, "to": None, "fromMe": from_me, "_data": data})
        assert isinstance(event, InboundMessage | OwnMessage)
        assert event.contact == ContactIds(phone="972500000001")

    def test_without_any_of_them_the_sides_tell_the_chat(self) -> None:
        assert inbound(message(id="AC01")).contact.phone == "972500000001"
        assert own(id="3A01").contact.phone == "972500000001"

    def test_our_own_message_to_a_hidden_id_never_takes_our_own_number(self) -> None:
        ours = {"id": f"true_{CUSTOMER_LID}_3A01", "from": CUSTOMER_LID, "to": None}
        info = {"SenderAlt": "15550009999@s.whatsapp.net", "RecipientAlt": OWN_CHAT}
        key = {"remoteJidAlt": "15550009999@s.whatsapp.net"}
        for data in ({"Info": info}, {"key": key}, {"Info": {"SenderAlt": CUSTOMER}}):
            assert own(**ours, _data=data).contact == ContactIds(lid="1" * 15), data

    def test_our_own_message_to_a_hidden_id_takes_the_recipients_number(self) -> None:
        ours = {"id": f"true_{CUSTOMER_LID}_3A01", "from": CUSTOMER_LID, "to": None}
        assert own(**ours, _data={"Info": {"RecipientAlt": CUSTOMER}}).contact == BOTH_IDS
        assert own(**ours, _data={"key": {"remoteJidAlt": CUSTOMER}}).contact == BOTH_IDS

    def test_where_our_number_is_unknown_nowebs_other_address_counts_for_nothing(self) -> None:
        ours = message(
            id=f"true_{CUSTOMER_LID}_3A01", fromMe=True, _data={"key": {"remoteJidAlt": CUSTOMER}}
        )
        unknown = the_event(told("message.any", ours, me=None))
        known = the_event(told("message.any", ours, me=None), own_number=OWN_NUMBER)
        assert isinstance(unknown, OwnMessage)
        assert isinstance(known, OwnMessage)
        assert (unknown.contact, known.contact) == (ContactIds(lid="1" * 15), BOTH_IDS)

    @pytest.mark.parametrize("chat", [OWN_CHAT, OWN_LID, "15550009999@s.whatsapp.net"])
    def test_our_own_chat_is_skipped(self, chat: str) -> None:
        ours = {"from": chat, "to": chat, "fromMe": True}
        assert read(**ours, id=f"true_{chat}_3A01") == Skipped(reason="self")
        theirs = {"from": chat, "to": chat}
        assert read(**theirs, id=f"false_{chat}_3A01") == Skipped(reason="own_number")

    @pytest.mark.parametrize(
        ("chat", "reason"),
        [
            ("120363000000000001@g.us", "group"),
            ("972500000001-1500000000@g.us", "group"),
            ("status@broadcast", "status_broadcast"),
            ("1600000000@broadcast", "broadcast"),
            ("120363000000000002@newsletter", "newsletter"),
            ("0@c.us", "unknown"),
        ],
    )
    @pytest.mark.parametrize("from_me", [True, False])
    def test_chats_that_are_no_customers_are_skipped(
        self, chat: str, reason: str, from_me: bool
    ) -> None:
        for id_ in (f"{str(from_me).lower()}_{chat}_AC01_{CUSTOMER}", f"{chat}_AC01", "AC01"):
            to = chat if from_me else OWN_CHAT
            event = read(**{"id": id_, "from": chat, "to": to, "fromMe": from_me})
            assert event == Skipped(reason=reason), id_

    @pytest.mark.parametrize(
        "payload",
        [
            noweb({"conversation": "a"}),
            gows({"conversation": "a"}),
            message(_data={"type": "chat", "notifyName": "Dana Example"}),
        ],
        ids=["noweb", "gows", "webjs"],
    )
    def test_a_customers_name_is_where_the_engine_puts_it_and_ours_is_nobodys(
        self, payload: Any
    ) -> None:
        assert inbound(payload).customer_name == "Dana Example"
        ours = the_event(told("message.any", payload | {"fromMe": True, "to": CUSTOMER}))
        assert isinstance(ours, OwnMessage)
        assert ours.customer_name is None


class TestOwnMessages:
    @pytest.mark.parametrize(
        ("source", "author"),
        [("app", Author.AGENT), ("api", Author.BOT), (None, Author.AGENT), (5, Author.AGENT)],
    )
    def test_the_phone_is_the_agent_and_a_program_is_the_bot(
        self, source: Any, author: Author
    ) -> None:
        assert own(source=source).author is author

    @pytest.mark.parametrize(
        ("ack", "name", "status"),
        [
            (-1, "ERROR", Delivery.FAILED),
            (0, "PENDING", Delivery.PENDING),
            (1, "SERVER", Delivery.SENT),
            (2, None, Delivery.DELIVERED),
            (None, "READ", Delivery.READ),
            (4, "PLAYED", Delivery.PLAYED),
            (None, None, Delivery.SENT),
            (True, {}, Delivery.SENT),
        ],
    )
    def test_it_comes_with_how_far_it_has_got(self, ack: Any, name: Any, status: Delivery) -> None:
        assert own(ack=ack, ackName=name).status is status

    @pytest.mark.parametrize("flag", [True, 1, "true"])
    def test_whose_it_is_stands_in_its_own_field_not_in_the_id(self, flag: Any) -> None:
        assert isinstance(read(fromMe=flag), OwnMessage)
        assert isinstance(read(id=f"true_{CUSTOMER}_AC01"), InboundMessage)


class TestPollVotes:
    VOTE: ClassVar[dict[str, Any]] = {
        "id": f"false_{CUSTOMER}_83AC",
        "from": CUSTOMER,
        "to": "me",
        "fromMe": False,
        "selectedOptions": ["Blue", "Green"],
        "timestamp": 1767261660,
    }

    def vote(self, **changes: Any) -> Any:
        poll = {"id": f"true_{CUSTOMER}_BAE5", "from": "me", "to": CUSTOMER, "fromMe": True}
        return the_event(told("poll.vote", {"vote": self.VOTE | changes, "poll": poll}))

    def test_a_customers_vote_is_their_turn_and_answers_the_poll(self) -> None:
        voted = self.vote()
        assert isinstance(voted, InboundMessage)
        assert (voted.type, voted.text) == ("unsupported", "Blue, Green")
        assert (voted.provider_message_id, voted.reply_to) == ("83AC", "BAE5")
        assert voted.contact == ContactIds(phone="972500000001")
        assert voted.sent_at == datetime(2026, 1, 1, 10, 1, tzinfo=UTC)

    @pytest.mark.parametrize("options", [[], None, "Blue", [None, 5, ""]])
    def test_one_that_names_nothing_is_still_a_turn(self, options: Any) -> None:
        voted = self.vote(selectedOptions=options)
        assert isinstance(voted, InboundMessage)
        assert (voted.type, voted.text) == ("unsupported", "")

    def test_our_own_vote_is_ours_and_a_groups_is_skipped(self) -> None:
        assert isinstance(self.vote(id=f"true_{CUSTOMER}_83AC", fromMe=True), OwnMessage)
        assert self.vote(id="false_1203@g.us_83AC") == Skipped(reason="group")
