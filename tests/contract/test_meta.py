from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.origin_suite import BODY, OriginSuite
from tests.contract.sample_files import body_of, vectors_of
from timer_service.messages import (
    Author,
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
    ParsedItem,
    Skipped,
)
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.meta import PROVIDER, verification_answer

VECTORS = vectors_of("meta")


def parse(document: Any, **context: Any) -> list[ParsedItem]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return PROVIDER.parse(WebhookRequest(body=body), ParseContext(**context))


def value_of(document: Any) -> Any:
    return document["entry"][0]["changes"][0]["value"]


def event_of(message: dict[str, Any], *, file: str = "meta/text.json") -> Event:
    """Parse the text sample with its message (or echo, or status) changed."""
    document = body_of(file)
    value = value_of(document)
    name = next(name for name in ("messages", "message_echoes", "statuses") if name in value)
    value[name][0] |= message
    (item,) = parse(document)
    return item.event


def inbound(message: dict[str, Any]) -> InboundMessage:
    event = event_of(message)
    assert isinstance(event, InboundMessage), event
    return event


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_a_signature_vector_is_judged_as_stated(vector: dict[str, Any]) -> None:
    request = WebhookRequest(
        body=vector["body"].encode(), headers={"x-hub-signature-256": vector["signature"]}
    )
    secrets = {"app_secret": VECTORS["app_secret"]}
    assert PROVIDER.is_authentic(request, secrets) is vector["valid"]


class TestOrigin(OriginSuite):
    provider = PROVIDER
    secrets = {"app_secret": "an-app-secret"}  # noqa: RUF012
    proof_header = "x-hub-signature-256"
    is_body_covered = True

    def genuine(self, secrets: dict[str, str], body: bytes = BODY) -> WebhookRequest:
        digest = hmac.new(secrets["app_secret"].encode(), body, hashlib.sha256).hexdigest()
        return WebhookRequest(body=body, headers={"x-hub-signature-256": f"sha256={digest}"})

    def test_the_old_sha1_header_proves_nothing(self) -> None:
        digest = hmac.new(b"an-app-secret", BODY, hashlib.sha1).hexdigest()
        for name in ("x-hub-signature", "x-hub-signature-256"):
            request = WebhookRequest(body=BODY, headers={name: f"sha1={digest}"})
            assert not PROVIDER.is_authentic(request, self.secrets)


class TestVerification:
    query = {  # noqa: RUF012
        "hub.mode": "subscribe",
        "hub.challenge": "1158201444",
        "hub.verify_token": "meatyhamhock",
    }

    def test_the_challenge_comes_back_for_any_of_the_tokens(self) -> None:
        assert verification_answer(self.query, ["other", "meatyhamhock"]) == "1158201444"
        assert verification_answer(self.query, iter(["meatyhamhock", "other"])) == "1158201444"

    @pytest.mark.parametrize(
        "change",
        [
            {"hub.mode": "unsubscribe"},
            {"hub.mode": ""},
            {"hub.verify_token": "meatyhamhoc"},
            {"hub.verify_token": ""},
            {"hub.verify_token": "é"},
            {"hub.challenge": ""},
            {"hub.challenge": "<script>alert(1)</script>"},
            {"hub.challenge": "1\n"},
            {"hub.challenge": "1" * 256},
        ],
        ids=str,
    )
    def test_anything_else_is_refused(self, change: dict[str, str]) -> None:
        assert verification_answer(self.query | change, ["meatyhamhock"]) is None

    @pytest.mark.parametrize("name", ["hub.mode", "hub.challenge", "hub.verify_token"])
    def test_a_missing_parameter_is_refused(self, name: str) -> None:
        query = {key: value for key, value in self.query.items() if key != name}
        assert verification_answer(query, ["meatyhamhock"]) is None

    def test_no_token_or_an_empty_one_matches_nothing(self) -> None:
        assert verification_answer(self.query, []) is None
        assert verification_answer(self.query | {"hub.verify_token": ""}, [""]) is None


class TestCustomer:
    def test_phone_and_business_scoped_id_are_both_kept(self) -> None:
        assert inbound({}).contact == ContactIds(
            phone="972500000001", bsuid="IL.10000000000000000001"
        )

    def test_a_profile_is_found_by_id_whatever_the_order(self) -> None:
        document = body_of("meta/batch_two_entries_two_tenants.json")
        value_of(document)["contacts"].reverse()
        names = [item.event.customer_name for item in parse(document)[:2]]  # type: ignore[union-attr]
        assert names == ["Dana Example", "Second Person"]

    def test_the_phone_is_learnt_from_the_profile_of_the_same_user(self) -> None:
        event = inbound({"from": None})
        assert event.contact.phone == "972500000001"

    def test_the_business_scoped_id_is_learnt_from_the_profile_of_the_same_phone(self) -> None:
        event = inbound({"from_user_id": None})
        assert event.contact.bsuid == "IL.10000000000000000001"

    def test_a_stranger_never_gets_the_only_profile(self) -> None:
        event = inbound({"from": "15550100007", "from_user_id": "US.7"})
        assert event.contact == ContactIds(phone="15550100007", bsuid="US.7")
        assert event.customer_name is None

    def test_a_message_of_nobody_is_skipped(self) -> None:
        assert event_of({"from": None, "from_user_id": 7}) == Skipped(reason="unknown")

    def test_our_own_number_is_no_customer(self) -> None:
        own = {"from": "15550009999", "from_user_id": None}
        assert event_of(own) == Skipped(reason="own_number")
        echo = {"to": "+1 555-000-9999", "to_user_id": None}
        file = "meta/echo_text_from_business_app.json"
        assert event_of(echo, file=file) == Skipped(reason="self")

    def test_the_connections_own_number_counts_where_the_payload_tells_none(self) -> None:
        document = body_of("meta/text.json")
        del value_of(document)["metadata"]["display_phone_number"]
        (item,) = parse(document, own_number="972500000001")
        assert item.event == Skipped(reason="own_number")

    def test_an_agents_echo_names_the_customer_it_went_to(self) -> None:
        event = event_of({}, file="meta/echo_text_from_business_app.json")
        assert isinstance(event, OwnMessage)
        assert event.author is Author.AGENT
        assert event.contact.phone == "972500000001"
        assert event.customer_name == "Dana Example"


class TestSkipping:
    def test_groups_are_skipped(self) -> None:
        assert event_of({"group_id": "Y2FwaV9ncm91cA=="}) == Skipped(reason="group")

    @pytest.mark.parametrize("kind", ["customer_identity_changed", "user_changed_user_id", None])
    def test_system_messages_are_skipped(self, kind: str | None) -> None:
        system = {"type": kind, "body": "changed", "wa_id": "15550100008"}
        assert event_of({"type": "system", "system": system}) == Skipped(reason="system")

    @pytest.mark.parametrize(
        ("field", "reason"),
        [
            ("history", "history"),
            ("smb_app_state_sync", "system"),
            ("user_id_update", "system"),  # nothing of a user id in it
            ("message_template_status_update", "unknown"),
            ("", "unknown"),
            (None, "unknown"),
            (["messages"], "unknown"),
        ],
    )
    def test_the_field_decides_not_what_the_value_holds(self, field: Any, reason: str) -> None:
        document = body_of("meta/text.json")
        document["entry"][0]["changes"][0]["field"] = field
        (item,) = parse(document)
        assert item == ParsedItem(account="100000000000001", event=Skipped(reason=reason))

    @pytest.mark.parametrize(
        "document",
        [{}, [], {"entry": None}, {"object": "page", "entry": []}, {"entry": [{}]}, {"entry": {}}],
        ids=str,
    )
    def test_a_body_that_means_nothing_is_counted_once(self, document: Any) -> None:
        assert parse(document) == [ParsedItem(account=None, event=Skipped(reason="unknown"))]

    def test_another_meta_products_events_are_skipped(self) -> None:
        document = body_of("meta/text.json") | {"object": "instagram"}
        assert [item.event for item in parse(document)] == [Skipped(reason="unknown")]

    def test_account_errors_without_messages_are_skipped(self) -> None:
        document = body_of("meta/interactive_empty_with_errors.json")
        del value_of(document)["messages"]
        assert [item.event for item in parse(document)] == [Skipped(reason="system")]

    @pytest.mark.parametrize("bad", ["", " ", "w" * 256, "a\x00b", "\ud800", None, 7, ["x"]])
    def test_a_message_without_a_usable_id_is_skipped(self, bad: Any) -> None:
        assert event_of({"id": bad}) == Skipped(reason="unknown")

    def test_an_id_of_255_characters_is_kept_as_it_is(self) -> None:
        assert inbound({"id": "+/=" * 85}).provider_message_id == "+/=" * 85


class TestChangesOfIdentity:
    @pytest.mark.parametrize("kind", ["user_changed_number", "customer_changed_number"])
    @pytest.mark.parametrize("field", ["wa_id", "new_wa_id"])
    def test_a_changed_number_links_the_new_one_to_the_old(self, kind: str, field: str) -> None:
        system = {"type": kind, "body": "changed", field: "15550100008"}
        assert event_of({"type": "system", "system": system}) == IdentityLink(
            contact=ContactIds(phone="15550100008"), former=ContactIds(phone="972500000001")
        )

    @pytest.mark.parametrize("new", [None, "", 5, "15550009999", "972500000001", "x"])
    def test_a_change_to_nothing_to_ours_or_to_the_same_links_nothing(self, new: Any) -> None:
        system = {"type": "user_changed_number", "wa_id": new}
        assert isinstance(event_of({"type": "system", "system": system}), Skipped)

    @pytest.mark.parametrize("is_list", [False, True])
    def test_a_changed_business_scoped_id_links_the_new_one_to_the_old(self, is_list: bool) -> None:
        document = body_of("meta/text.json")
        document["entry"][0]["changes"][0]["field"] = "user_id_update"
        update = {"user_id": {"previous": "IL.1", "current": "IL.2"}, "wa_id": "972500000001"}
        value_of(document)["user_id_update"] = [update, None] if is_list else update
        items = parse(document)
        assert items[0].event == IdentityLink(
            contact=ContactIds(bsuid="IL.2"), former=ContactIds(bsuid="IL.1")
        )
        assert [one.event for one in items[1:]] == [Skipped(reason="system")] * is_list


class TestContent:
    @pytest.mark.parametrize(
        "message",
        [
            {"type": "request_welcome"},
            {"type": "unsupported", "errors": [{"code": 131051}]},
            {"type": None},
            {"type": ["text"]},
            {"type": "text", "text": None},
            {"type": "text", "text": {"body": 5}},
            {"type": "image", "image": "no object"},
            {"type": "interactive", "interactive": {"type": "call_permission_reply"}},
            {"type": "interactive", "interactive": {"type": "list_reply", "list_reply": None}},
        ],
        ids=str,
    )
    def test_what_cannot_be_read_is_still_the_customers_turn(self, message: Any) -> None:
        event = inbound(message)
        assert (event.type, event.text) == ("unsupported", "")

    def test_text_is_made_storable_and_cut(self) -> None:
        event = inbound({"text": {"body": "a\x00b\ud800c" + "d" * 100_000}})
        assert event.text.startswith("abcddd")
        assert len(event.text) <= 65_536

    def test_media_keep_what_fetches_and_names_them(self) -> None:
        document = body_of("meta/document_caption.json")
        (item,) = parse(document)
        assert isinstance(item.event, InboundMessage)
        assert item.event.media is not None
        assert item.event.media.as_json() == {
            "mime_type": "application/pdf",
            "file_name": "contract.pdf",
            "provider_media_id": "3000000000000003",
            "sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        }

    def test_a_flows_answers_are_kept(self) -> None:
        reply = {"name": "flow", "body": "Sent", "response_json": '{"size": "L", "n": 1e999}'}
        interactive = {"type": "nfm_reply", "nfm_reply": reply}
        event = inbound({"type": "interactive", "interactive": interactive})
        assert (event.type, event.text, event.payload) == ("button_reply", "Sent", "flow")
        assert event.extra == {"flow": {"size": "L", "n": None}}

    @pytest.mark.parametrize("answers", [None, "", "{", "[" * 5_000, "7"])
    def test_a_flow_without_readable_answers_is_still_a_reply(self, answers: Any) -> None:
        reply = {"name": "flow", "body": "Sent", "response_json": answers}
        interactive = {"type": "nfm_reply", "nfm_reply": reply}
        event = inbound({"type": "interactive", "interactive": interactive})
        assert (event.type, event.extra) == ("button_reply", {"flow": None})

    def test_a_location_an_order_and_cards_keep_their_data(self) -> None:
        place = {"latitude": 32.0, "longitude": 34.8, "name": "Shop", "address": None, "x": 1}
        event = inbound({"type": "location", "location": place})
        assert event.extra == {"latitude": 32.0, "longitude": 34.8, "name": "Shop"}
        (order,) = parse(body_of("meta/order.json"))
        assert order.event.extra["product_items"][0]["product_retailer_id"] == "SKU-1"  # type: ignore[union-attr]
        (cards,) = parse(body_of("meta/contacts.json"))
        assert cards.event.extra == {  # type: ignore[union-attr]
            "contacts": [{"name": "Pat Placeholder", "phones": ["+1 555-010-0002"]}]
        }

    def test_an_ads_referral_is_kept_with_that_message_only(self) -> None:
        (item,) = parse(body_of("meta/ad_referral_text.json"))
        assert item.event.extra["referral"]["ctwa_clid"] == "FAKECLID"  # type: ignore[union-attr]
        place = {"type": "location", "location": {"latitude": 1}, "referral": {"source_id": "4"}}
        assert inbound(place).extra == {"latitude": 1, "referral": {"source_id": "4"}}
        unreadable = {"type": "request_welcome", "referral": {"source_id": "4"}}
        assert "referral" not in inbound(unreadable).extra
        assert inbound({"type": "text", "text": None}).extra == {}

    @pytest.mark.parametrize(
        ("written", "instant"),
        [
            ("1767261660", datetime(2026, 1, 1, 10, 1, tzinfo=UTC)),
            (1767261660, datetime(2026, 1, 1, 10, 1, tzinfo=UTC)),
            (1767261660000, datetime(2026, 1, 1, 10, 1, tzinfo=UTC)),
            ("1767261660.5", datetime(2026, 1, 1, 10, 1, 0, 500_000, tzinfo=UTC)),
            ("-1", None),
            ("0", None),
            (2**62, None),
            ("soon", None),
            ("\uff11\uff17\uff16\uff17\uff12\uff16\uff11\uff16\uff16\uff10", None),
            (True, None),
            (None, None),
            (float("nan"), None),
        ],
    )
    def test_an_absurd_time_is_no_time(self, written: Any, instant: datetime | None) -> None:
        assert inbound({"timestamp": written}).sent_at == instant


class TestChanges:
    def test_a_removed_reaction_has_no_emoji(self) -> None:
        for reaction in ({"message_id": "wamid.1"}, {"message_id": "wamid.1", "emoji": ""}):
            event = event_of({"type": "reaction", "reaction": reaction})
            assert isinstance(event, MessageChange)
            assert (event.kind, event.text) == (ChangeKind.REACTION, "")

    def test_a_customers_edit_of_a_caption_is_read(self) -> None:
        message = {"type": "image", "image": {"caption": "new"}}
        event = event_of(
            {"type": "edit", "edit": {"original_message_id": "w1", "message": message}}
        )
        assert isinstance(event, MessageChange)
        assert (event.direction, event.target, event.text) == (Direction.IN, "w1", "new")

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "edit", "edit": {"original_message_id": "w1", "message": {"type": "new"}}},
            {"type": "edit", "edit": {"original_message_id": "w1"}},
            {"type": "edit", "edit": None},
            {"type": "revoke", "revoke": {}},
            {"type": "reaction", "reaction": {"emoji": "x", "message_id": ""}},
        ],
        ids=str,
    )
    def test_a_change_that_cannot_be_read_changes_nothing(self, change: Any) -> None:
        assert event_of(change) == Skipped(reason="unknown")


class TestStatuses:
    @pytest.mark.parametrize(
        ("code", "retryable"),
        [
            (130429, True),
            (131056, True),
            ("131016", True),
            (131026, False),
            (190, False),
            (250, False),
            (999999, None),
            (None, None),
            ("many", None),
            (2**40, None),
        ],
    )
    def test_a_failures_code_says_whether_to_try_again(
        self, code: Any, retryable: bool | None
    ) -> None:
        failed = {"status": "failed", "errors": [{"code": code}]}
        event = event_of(failed, file="meta/status_read.json")
        assert isinstance(event, DeliveryStatus)
        assert (event.status, event.retryable) == (Delivery.FAILED, retryable)

    @pytest.mark.parametrize("code", ["many", None, 2**31, 2**40, -1, True, {"x": 1}])
    def test_a_code_that_is_none_is_left_out(self, code: Any) -> None:
        failed = {"status": "failed", "errors": [None, {"code": code}]}
        event = event_of(failed, file="meta/status_read.json")
        assert isinstance(event, DeliveryStatus)
        assert event.error_code is None

    @pytest.mark.parametrize("status", ["warning", "", None, 4, {"x": 1}])
    def test_an_unknown_status_is_skipped(self, status: Any) -> None:
        event = event_of({"status": status}, file="meta/status_read.json")
        assert event == Skipped(reason="unknown")

    def test_a_status_for_nobody_still_counts_for_its_message(self) -> None:
        nobody = {"recipient_id": None, "recipient_user_id": None}
        event = event_of(nobody, file="meta/status_read.json")
        assert isinstance(event, DeliveryStatus)
        assert event.contact is None
