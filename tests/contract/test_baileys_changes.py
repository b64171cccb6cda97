from __future__ import annotations

from typing import Any

import pytest

from tests.contract.baileys_payloads import (
    CUSTOMER,
    CUSTOMER_LID,
    OWN_JID,
    OWN_NUMBER,
    evolution,
    parse,
    read,
    the_event,
)
from tests.contract.sample_files import body_of
from timer_service.messages import (
    ChangeKind,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    IdentityLink,
    MessageChange,
    Skipped,
    StatusReason,
)


class TestChanges:
    def test_a_customers_edit_as_evolution_mirrors_it_is_the_customers(self) -> None:
        key = {"remoteJid": OWN_JID, "fromMe": True, "id": "AC01"}
        data = {"key": key, "type": "MESSAGE_EDIT", "editedMessage": {"conversation": "new"}}
        event = the_event(evolution("messages.edited", data))
        assert event == MessageChange(
            kind=ChangeKind.EDIT, direction=Direction.IN, target="AC01", text="new"
        )

    def test_an_agents_edit_is_ours(self) -> None:
        key = {"remoteJid": CUSTOMER, "fromMe": True, "id": "3A01"}
        data = {"key": key, "type": 14, "editedMessage": {"imageMessage": {"caption": "new"}}}
        event = the_event(evolution("messages.edited", data))
        assert isinstance(event, MessageChange)
        assert (event.direction, event.text) == (Direction.OUT, "new")
        assert event.contact == ContactIds(phone="972500000001")

    @pytest.mark.parametrize(
        ("alternative", "direction", "contact"),
        [
            (None, None, None),
            (OWN_JID, Direction.IN, None),
            (CUSTOMER, Direction.OUT, ContactIds(phone="972500000001", lid="1" * 15)),
        ],
        ids=["nothing tells", "our number beside", "the customer's number beside"],
    )
    def test_an_edit_in_a_hidden_chat_is_that_of_the_side_beside_it_or_of_whoever_wrote(
        self, alternative: Any, direction: Direction | None, contact: ContactIds | None
    ) -> None:
        key = {"remoteJid": CUSTOMER_LID, "fromMe": True, "id": "AC01"}
        key |= {"remoteJidAlt": alternative} if alternative else {}
        data = {"key": key, "type": 14, "editedMessage": {"conversation": "new"}}
        event = the_event(evolution("messages.edited", data))
        assert isinstance(event, MessageChange)
        assert (event.direction, event.contact) == (direction, contact)

    @pytest.mark.parametrize("from_me", [True, False, None])
    def test_an_edit_the_event_calls_ours_is_ours_whatever_its_key_says(self, from_me: Any) -> None:
        key = {"remoteJid": CUSTOMER_LID, "fromMe": from_me, "id": "3EB0"}
        data = {"key": key, "type": 14, "editedMessage": {"conversation": "new"}}
        event = the_event(evolution("send.message.update", data))
        assert isinstance(event, MessageChange)
        assert (event.direction, event.contact) == (Direction.OUT, ContactIds(lid="1" * 15))

    @pytest.mark.parametrize("kind", [3, 5, "EPHEMERAL_SETTING", None, {}, True])
    def test_evolutions_edit_event_is_skipped_for_other_protocol_messages(self, kind: Any) -> None:
        data = {"key": {"remoteJid": CUSTOMER, "fromMe": False, "id": "AC01"}, "type": kind}
        assert the_event(evolution("messages.edited", data)) == Skipped(reason="system")

    def test_an_edit_that_lost_its_type_is_known_by_what_it_holds(self) -> None:
        edit = {"key": {"id": "AC00"}, "editedMessage": {"conversation": "new"}}
        event = read({"protocolMessage": edit})
        assert isinstance(event, MessageChange)
        assert (event.kind, event.target, event.text) == (ChangeKind.EDIT, "AC00", "new")

    @pytest.mark.parametrize("edited", [None, {}, {"newKind": {}}, {"conversation": 5}], ids=str)
    def test_an_edit_nobody_can_read_leaves_the_text_alone(self, edited: Any) -> None:
        key = {"remoteJid": CUSTOMER, "fromMe": False, "id": "AC01"}
        data = {"key": key, "type": 14, "editedMessage": edited}
        assert the_event(evolution("messages.edited", data)) == Skipped(reason="unknown")
        update = {"message": {"editedMessage": {"message": edited}}}
        assert the_event([{"key": key, "update": update}]) == Skipped(reason="unknown")

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (
                {"remoteJid": CUSTOMER, "fromMe": False, "id": "X", "status": "DELETED"},
                Direction.IN,
            ),
            (
                {"id": "row", "key": {"remoteJid": CUSTOMER, "fromMe": True, "id": "X"}},
                Direction.OUT,
            ),
        ],
        ids=["key", "key within"],
    )
    def test_a_deletion_for_everybody_revokes(self, data: Any, expected: Direction) -> None:
        event = the_event(evolution("messages.delete", data))
        assert isinstance(event, MessageChange)
        assert (event.kind, event.target, event.direction) == (ChangeKind.REVOKE, "X", expected)

    @pytest.mark.parametrize("data", [{"jid": CUSTOMER, "all": True}, {"keys": [{"id": "X"}]}])
    def test_tidying_up_our_own_phone_revokes_nothing(self, data: Any) -> None:
        assert the_event(evolution("messages.delete", data)) == Skipped(reason="system")

    def test_changes_in_groups_are_skipped(self) -> None:
        key = {"remoteJid": "120363000000000001@g.us", "fromMe": False, "id": "X"}
        group = Skipped(reason="group")
        assert the_event(evolution("messages.edited", {"key": key, "type": 0})) == group
        assert the_event(evolution("messages.delete", key)) == group
        assert the_event([{"key": key, "update": {"status": 4}}]) == group

    def test_an_agents_reaction_is_ours(self) -> None:
        event = read(
            {"reactionMessage": {"key": {"id": "AC00"}, "text": "👍"}}, key={"fromMe": True}
        )
        assert isinstance(event, MessageChange)
        assert (event.direction, event.target, event.text) == (Direction.OUT, "AC00", "👍")
        assert event.customer_name is None


class TestStatuses:
    @pytest.mark.parametrize(
        ("written", "delivery"),
        [
            ("ERROR", Delivery.FAILED),
            ("PENDING", Delivery.PENDING),
            ("SERVER_ACK", Delivery.SENT),
            ("DELIVERY_ACK", Delivery.DELIVERED),
            ("read", Delivery.READ),
            ("PLAYED", Delivery.PLAYED),
            (0, Delivery.FAILED),
            (1, Delivery.PENDING),
            (2, Delivery.SENT),
            (3, Delivery.DELIVERED),
            (4, Delivery.READ),
            (5, Delivery.PLAYED),
            ("4", Delivery.READ),
        ],
    )
    def test_both_spellings_are_read(self, written: Any, delivery: Delivery) -> None:
        data = {"keyId": "X", "messageId": "row", "remoteJid": CUSTOMER, "fromMe": True}
        event = the_event(evolution("messages.update", data | {"status": written}))
        assert isinstance(event, DeliveryStatus)
        assert (event.provider_message_id, event.status) == ("X", delivery)

    @pytest.mark.parametrize("written", ["DELETED", "", None, 6, True, {}, [4]])
    def test_a_status_that_says_nothing_is_skipped(self, written: Any) -> None:
        data = {"keyId": "X", "remoteJid": CUSTOMER, "fromMe": True, "status": written}
        assert the_event(evolution("messages.update", data)) == Skipped(reason="unknown")

    def test_how_far_we_read_a_customers_message_is_no_status(self) -> None:
        data = {"keyId": "X", "remoteJid": CUSTOMER, "fromMe": False, "status": "READ"}
        assert the_event(evolution("messages.update", data)) == Skipped(reason="system")

    def test_media_uploaded_again_is_not_a_message(self) -> None:
        update = {"message": {"imageMessage": {"url": "https://mmg.whatsapp.net/new"}}}
        key = {"remoteJid": CUSTOMER, "fromMe": False, "id": "X"}
        assert the_event([{"key": key, "update": update}]) == Skipped(reason="system")


class TestIdentities:
    def test_a_history_chunk_gives_its_mappings_and_no_messages(self) -> None:
        items = parse(body_of("baileys/messaging_history_set.json"))
        both = ContactIds(phone="972500000001", lid="111111111111111")
        assert [item.event for item in items] == [
            Skipped(reason="history"),
            IdentityLink(contact=both),
        ]

    def test_a_flood_of_mappings_is_bounded(self) -> None:
        mapping = {"lid": CUSTOMER_LID, "pn": CUSTOMER}
        assert len(parse({"lidPnMappings": [mapping] * 5_000, "syncType": 3})) == 501

    @pytest.mark.parametrize(
        ("mapping", "reason"),
        [
            ({"lid": CUSTOMER_LID, "pn": None}, "unknown"),
            ({"lid": None, "pn": CUSTOMER}, "unknown"),
            ({"lid": CUSTOMER, "pn": CUSTOMER_LID}, "unknown"),
            ({"lid": CUSTOMER_LID, "pn": OWN_JID}, "own_number"),
        ],
        ids=str,
    )
    def test_half_a_mapping_or_our_own_links_nobody(self, mapping: Any, reason: str) -> None:
        event = the_event(evolution("lid-mapping.update", mapping))
        assert event == Skipped(reason=reason)


class TestConnection:
    @pytest.mark.parametrize(
        ("event", "data", "state"),
        [
            ("connection.update", {"state": "connecting"}, ConnectionState.CONNECTING),
            ("connection.update", {"state": "close", "statusReason": 403}, ConnectionState.FAILED),
            ("connection.update", {"connection": "open"}, ConnectionState.CONNECTED),
            ("connection.update", {"qr": "2@abc"}, ConnectionState.WAITING_QR),
            ("connection.update", {"connection": "close"}, ConnectionState.FAILED),
            ("qrcode.updated", {"qrcode": {"code": "2@abc"}}, ConnectionState.WAITING_QR),
            ("status.instance", {"status": "closed"}, ConnectionState.LOGGED_OUT),
        ],
        ids=str,
    )
    def test_what_a_gateway_says_of_its_connection(
        self, event: str, data: Any, state: ConnectionState
    ) -> None:
        parsed = the_event(evolution(event, data))
        assert isinstance(parsed, ConnectionUpdate)
        assert parsed.state is state

    @pytest.mark.parametrize(
        ("code", "state", "reason"),
        [
            (401, ConnectionState.LOGGED_OUT, StatusReason.UNLINKED),
            (403, ConnectionState.FAILED, StatusReason.NUMBER_REFUSED),
            (440, ConnectionState.FAILED, StatusReason.REPLACED),
            (500, ConnectionState.FAILED, StatusReason.LINK_DAMAGED),
            (408, ConnectionState.CONNECTING, StatusReason.CONNECTION_LOST),
            (515, ConnectionState.CONNECTING, StatusReason.RESTART_REQUIRED),
        ],
    )
    def test_why_a_socket_closed_decides_whether_it_comes_back(
        self, code: int, state: ConnectionState, reason: StatusReason
    ) -> None:
        error = {"error": {"output": {"statusCode": code}}}
        event = the_event({"connection": "close", "lastDisconnect": error})
        assert event == ConnectionUpdate(state=state, reason=reason)

    def test_an_open_connection_tells_its_number(self) -> None:
        event = the_event(body_of("evolution/connection_open.json"))
        assert event == ConnectionUpdate(state=ConnectionState.CONNECTED, own_number=OWN_NUMBER)

    @pytest.mark.parametrize("data", [None, {}, [], {"isOnline": True}, {"state": 5}], ids=str)
    def test_an_update_that_says_nothing_is_skipped(self, data: Any) -> None:
        assert the_event(evolution("connection.update", data)) == Skipped(reason="system")
