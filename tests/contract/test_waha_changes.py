from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.waha_payloads import (
    CUSTOMER,
    CUSTOMER_LID,
    OWN_NUMBER,
    message,
    the_event,
    told,
)
from timer_service.messages import (
    ChangeKind,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    MessageChange,
    Skipped,
    StatusReason,
)

TOLD_AT = datetime(2026, 1, 1, 10, 1, 1, 591000, tzinfo=UTC)
GROUP = "120363000000000001@g.us"


def reacted(text: Any, target: Any = f"true_{CUSTOMER}_3EB0", **changes: Any) -> dict[str, Any]:
    return told(
        "message.reaction", message(reaction={"text": text, "messageId": target}, **changes)
    )


def edited(body: Any = "new", target: Any = "AC00", **changes: Any) -> dict[str, Any]:
    return told("message.edited", message(body=body, editedMessageId=target, **changes))


def revoked(after: Any, before: Any = None, **target: Any) -> dict[str, Any]:
    return told("message.revoked", {"after": after, "before": before, **target})


def the_change(document: Any) -> MessageChange:
    event = the_event(document)
    assert isinstance(event, MessageChange), event
    return event


class TestChanges:
    @pytest.mark.parametrize("from_me", [True, False])
    @pytest.mark.parametrize(
        ("make", "kind"),
        [
            (edited, ChangeKind.EDIT),
            (
                lambda **side: revoked(message(**side), revokedMessageId="AC00"),
                ChangeKind.REVOKE,
            ),
            (lambda **side: reacted("👍", "AC00", **side), ChangeKind.REACTION),
        ],
        ids=["edit", "revocation", "reaction"],
    )
    def test_a_change_is_of_the_side_that_made_it(
        self, make: Any, kind: ChangeKind, from_me: bool
    ) -> None:
        event = the_change(make(fromMe=from_me))
        direction = Direction.OUT if from_me else Direction.IN
        assert (event.kind, event.direction, event.target) == (kind, direction, "AC00")
        assert event.contact == ContactIds(phone="972500000001")

    def test_a_change_in_a_hidden_chat_is_of_the_side_that_made_it(self) -> None:
        for from_me, side in ((True, Direction.OUT), (False, Direction.IN)):
            event = the_change(edited(id=f"true_{CUSTOMER_LID}_B", fromMe=from_me))
            assert event.direction is side

    @pytest.mark.parametrize("target", ["AC00", f"false_{CUSTOMER}_AC00", f"{CUSTOMER}_AC00"])
    def test_the_target_is_whatsapps_own_id_however_it_is_dressed(self, target: str) -> None:
        for document in (
            edited(target=target),
            reacted("👍", target),
            revoked(message(), revokedMessageId=target),
            revoked(message(), {"id": target}),
            revoked(None, message(id=target)),
        ):
            assert the_change(document).target == "AC00"

    def test_a_revocation_may_bring_only_what_was_there_before(self) -> None:
        event = the_change(revoked(None, message(id=f"true_{CUSTOMER}_3EB0", fromMe=True)))
        assert (event.direction, event.target) == (Direction.OUT, "3EB0")
        assert event.contact == ContactIds(phone="972500000001")

    @pytest.mark.parametrize("target", [None, "", CUSTOMER, 5, {}, "i" * 256])
    def test_a_change_of_nothing_is_skipped(self, target: Any) -> None:
        for document in (
            edited(target=target),
            reacted("👍", target),
            revoked(message(), revokedMessageId=target),
        ):
            assert the_event(document) == Skipped(reason="unknown")

    @pytest.mark.parametrize("body", [None, "", 5, {}])
    def test_an_edit_nobody_can_read_leaves_the_text_alone(self, body: Any) -> None:
        assert the_event(edited(body)) == Skipped(reason="unknown")

    @pytest.mark.parametrize("text", ["", None])
    def test_a_reaction_is_taken_back(self, text: Any) -> None:
        assert the_change(reacted(text)).text == ""

    def test_a_reactions_time_may_have_fractions(self) -> None:
        event = the_change(reacted("🙏", timestamp=1710481111.853))
        assert event.at == datetime(2024, 3, 15, 5, 38, 31, 853000, tzinfo=UTC)

    @pytest.mark.parametrize("chat", [GROUP, "status@broadcast", "1@newsletter", "1@broadcast"])
    def test_changes_in_other_chats_are_skipped(self, chat: str) -> None:
        place = {"id": f"false_{chat}_AC01_{CUSTOMER}", "from": chat}
        for document in (
            edited(**place),
            reacted("👍", **place),
            revoked(message(**place), revokedMessageId="AC00"),
            told("message.ack", message(**place, fromMe=True, ack=3)),
        ):
            event = the_event(document)
            assert isinstance(event, Skipped)
            assert event.reason in {"group", "status_broadcast", "newsletter", "broadcast"}


class TestAcks:
    @pytest.mark.parametrize(
        ("ack", "name", "delivery"),
        [
            (-1, "ERROR", Delivery.FAILED),
            (0, "PENDING", Delivery.PENDING),
            (1, "SERVER", Delivery.SENT),
            (2, "DEVICE", Delivery.DELIVERED),
            (3, "READ", Delivery.READ),
            (4, "PLAYED", Delivery.PLAYED),
            (None, "READ", Delivery.READ),
            (9, "DEVICE", Delivery.DELIVERED),
            ("3", None, Delivery.READ),
        ],
    )
    @pytest.mark.parametrize("chat", [CUSTOMER, CUSTOMER_LID])
    def test_an_ack_says_how_far_our_message_got(
        self, ack: Any, name: Any, delivery: Delivery, chat: str
    ) -> None:
        payload = {"id": f"true_{chat}_3EB0", "from": chat, "fromMe": True}
        event = the_event(told("message.ack", payload | {"ack": ack, "ackName": name}))
        assert isinstance(event, DeliveryStatus)
        assert (event.provider_message_id, event.status) == ("3EB0", delivery)
        assert event.at == TOLD_AT
        assert event.contact in (ContactIds(phone="972500000001"), ContactIds(lid="1" * 15))

    @pytest.mark.parametrize("ack", [None, 9, -2, True, {}, "READ", [3]])
    def test_an_ack_that_says_nothing_is_skipped(self, ack: Any) -> None:
        payload = {"id": f"true_{CUSTOMER}_3EB0", "fromMe": True, "ack": ack}
        assert the_event(told("message.ack", payload)) == Skipped(reason="unknown")

    def test_how_far_we_read_a_customers_message_is_no_status(self) -> None:
        payload = {"id": f"false_{CUSTOMER}_AC01", "fromMe": False, "ack": 3}
        assert the_event(told("message.ack", payload)) == Skipped(reason="system")

    @pytest.mark.parametrize("event", ["message.ack", "message.ack.group"])
    def test_a_groups_acks_are_skipped(self, event: str) -> None:
        payload = {"id": f"true_{GROUP}_3EB0_9999@lid", "from": GROUP, "fromMe": True, "ack": 3}
        assert the_event(told(event, payload)) == Skipped(reason="group")


class TestSession:
    @pytest.mark.parametrize(
        ("status", "state", "reason"),
        [
            ("STOPPED", ConnectionState.STOPPED, StatusReason.STOPPED),
            ("STARTING", ConnectionState.CONNECTING, None),
            ("SCAN_QR_CODE", ConnectionState.WAITING_QR, StatusReason.QR_TO_SCAN),
            ("PASSKEY_REQUIRED", ConnectionState.ACTION_REQUIRED, StatusReason.PASSKEY),
            (
                "PASSKEY_CONFIRMATION_REQUIRED",
                ConnectionState.ACTION_REQUIRED,
                StatusReason.PASSKEY,
            ),
            ("WORKING", ConnectionState.CONNECTED, None),
            ("FAILED", ConnectionState.FAILED, StatusReason.LINK_FAILED),
        ],
    )
    def test_a_sessions_status_is_its_connections_state(
        self, status: str, state: ConnectionState, reason: StatusReason | None
    ) -> None:
        event = the_event(told("session.status", {"name": "default", "status": status}))
        assert event == ConnectionUpdate(state=state, own_number=OWN_NUMBER, reason=reason)

    def test_a_session_that_is_not_linked_has_no_number(self) -> None:
        document = told("session.status", {"status": "SCAN_QR_CODE"}, me=None)
        assert the_event(document) == ConnectionUpdate(
            state=ConnectionState.WAITING_QR, reason=StatusReason.QR_TO_SCAN
        )

    @pytest.mark.parametrize("status", ["SOMETHING_NEW", "", None, 5, {}])
    def test_an_unknown_status_is_skipped(self, status: Any) -> None:
        assert the_event(told("session.status", {"status": status})) == Skipped(reason="unknown")
