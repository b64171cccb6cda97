"""The WhatsApp settings: linked numbers, the idle time, how chats are summarised."""

from __future__ import annotations

import html
import re
from uuid import uuid4

import pytest
from flask import Flask

from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import Shop
from timer_http.console.settings_forms import NEEDS, read_gap_s, write_gap
from timer_service.messages import ProviderName
from timer_service.providers import PROVIDERS


@pytest.fixture
def manager(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["manager"])


@pytest.fixture
def settings_page(shop: Shop) -> str:
    return f"{page_of(shop)}/settings"


WAHA = {
    "provider": "waha",
    "name": "Back office",
    "external_id": "default",
    "base_url": "http://waha:3000/",
    "secret.hmac_key": "the key that signs",
    "secret.api_key": "",
}


def connect(manager: Reader, settings_page: str, **changes: str) -> str:
    """Connect an account by the form; return its place in the settings."""
    answer = manager.press(f"{settings_page}/connections/new", data=WAHA | changes)
    assert answer.status_code == 303, words_of(answer.text)
    return answer.headers["Location"]


def test_only_managers_come_in(app: Flask, shop: Shop, settings_page: str) -> None:
    for role in ("viewer", "agent"):
        reader = Reader.signed_in(app, shop.keys[role])
        assert reader.open(settings_page).status_code == 403
        assert reader.press(f"{settings_page}/idle-gap", data={}).status_code == 403
        assert "WhatsApp settings" not in words_of(reader.read(page_of(shop)))


def test_another_businesses_settings_and_numbers_are_not_there(
    app: Flask, shop: Shop, other_shop: Shop, manager: Reader, settings_page: str
) -> None:
    theirs = other_shop.connect("waha", name="theirs")["id"]
    for base in (settings_page, f"{page_of(other_shop)}/settings"):
        for end in ("", "/remove", "/test-message"):
            data = {"name": "mine now", "to": "972500000001", "text": "hi"}
            path = f"{base}/connections/{theirs}{end}"
            assert manager.press(path, data=data).status_code == 404
    assert manager.open(f"{page_of(other_shop)}/settings").status_code == 404
    assert other_shop.get(f"/api/connections/{theirs}").json["name"] == "theirs"


@pytest.mark.parametrize("provider", list(ProviderName))
def test_a_number_at_any_gateway_is_connected_by_what_its_form_asks_for(
    shop: Shop, manager: Reader, settings_page: str, provider: ProviderName
) -> None:
    source = manager.read(f"{settings_page}/connections/new?provider={provider.value}")
    asked = re.findall(r'<input id="[^"]+" name="([^"]+)" type="([^"]+)"[^>]*?( required)?', source)
    ids = {ProviderName.TWILIO: "AC0:+15550009999"}
    typed = {name: f"value-of-{name}" for name, _, _ in asked}
    typed |= {"provider": provider.value, "external_id": ids.get(provider, "1234567")}
    if "base_url" in typed:
        typed["base_url"] = "http://gateway:8080"
    answer = manager.press(f"{settings_page}/connections/new", data=typed)
    assert answer.status_code == 303, words_of(answer.text)
    (made,) = shop.get("/api/connections").json["items"]
    page = manager.read(settings_page)
    assert html.escape(made["webhook_url"]) in page
    for name, kind, _ in asked:
        is_secret = name.startswith("secret.")
        assert (kind == "password") is is_secret
        if is_secret and name != "secret.token":  # that one is the end of the webhook's address
            assert f"value-of-{name}" not in page


def test_the_forms_ask_for_what_proves_origin() -> None:
    assert set(NEEDS) == set(ProviderName)
    for provider, needs in NEEDS.items():
        assert PROVIDERS[provider].secret_names & set(needs.required)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"secret.hmac_key": ""}, "secret-hmac_key", "Needed: without it"),
        ({"external_id": ""}, "external_id", "Expected: As it is called at WAHA"),
        ({"base_url": "waha:3000"}, "base_url", "An address that starts with http://"),
        ({"provider": "twilio", "external_id": "12"}, "external_id", "Such as AC0123"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    *, manager: Reader, settings_page: str, changes: dict[str, str], field: str, said: str
) -> None:
    answer = manager.press(f"{settings_page}/connections/new", data=WAHA | changes)
    assert answer.status_code == 422
    problem = re.search(rf'<p id="{field}-problem"[^>]*>(.*?)</p>', answer.text)
    assert problem is not None, words_of(answer.text)
    assert said in html.unescape(problem[1])
    assert 'value="Back office"' in answer.text
    assert "the key that signs" not in answer.text


def test_a_taken_account_is_refused_beside_its_id(manager: Reader, settings_page: str) -> None:
    connect(manager, settings_page)
    answer = manager.press(f"{settings_page}/connections/new", data=WAHA)
    assert answer.status_code == 422
    assert "This account is connected already." in words_of(answer.text)


def test_a_connection_is_changed_and_blank_secrets_stay(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    place = connect(manager, settings_page)
    connection_id = place.rpartition("connection-")[2]
    change = {"name": "Front office", "base_url": "", "secret.hmac_key": "", "secret.api_key": ""}
    answer = manager.press(f"{settings_page}/connections/{connection_id}", data=change)
    assert answer.status_code == 303
    assert "The connection is changed." in words_of(manager.read(settings_page))
    changed = shop.get(f"/api/connections/{connection_id}").json
    assert (changed["name"], changed["base_url"]) == ("Front office", None)
    bad = manager.press(
        f"{settings_page}/connections/{connection_id}", data=change | {"base_url": "ftp://x"}
    )
    assert bad.status_code == 422
    assert 'value="ftp://x"' in bad.text
    assert '<details class="entry-more" open>' in bad.text


def test_a_removed_number_is_gone_and_its_open_chats_are_closed(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    place = connect(manager, settings_page)
    connection_id = place.rpartition("connection-")[2]
    shop.record({"id": connection_id}, "hello")
    shown = words_of(manager.read(settings_page))
    assert "Remove Back office? Its open chats are closed" in shown
    assert manager.press(f"{settings_page}/connections/{connection_id}/remove").status_code == 303
    assert "Back office" not in words_of(manager.read(settings_page))
    assert [one["close_reason"] for one in shop.sessions] == ["completed"]


def test_a_test_message_is_queued_and_leads_to_its_conversation(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    line = shop.connect("waha", base_url="http://waha:3000",
                        secrets={"hmac_key": "k", "api_key": "k"})  # fmt: skip
    path = f"{settings_page}/connections/{line['id']}/test-message"
    answer = manager.press(path, data={"to": "972500000009", "text": "does it work?"})
    assert answer.status_code == 303, words_of(answer.text)
    shown = words_of(manager.read(answer.headers["Location"]))
    assert "does it work?" in shown
    assert "The message is queued." in shown


def test_a_test_message_that_cannot_go_out_says_why_and_keeps_what_was_typed(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    line = shop.connect("meta")
    path = f"{settings_page}/connections/{line['id']}/test-message"
    for typed in ({"to": "nobody", "text": "hi"}, {"to": "972500000009", "text": ""}):
        answer = manager.press(path, data=typed)
        assert answer.status_code == 422
        assert 'aria-invalid="true"' in answer.text
        assert f'value="{typed["to"]}"' in answer.text
    answer = manager.press(path, data={"to": "972500000009", "text": "hi there"})
    assert answer.status_code == 422, "Meta lets nobody write first without a template"
    assert 'value="hi there"' in answer.text
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("gap", "unit", "gap_s"),
    [
        ("1", "minute", 60),
        ("90", "minute", 5_400),
        ("12", "hour", 43_200),
        ("30", "day", 2592000),
    ],
)
def test_the_idle_time_is_chosen_in_minutes_hours_or_days(
    *, shop: Shop, manager: Reader, settings_page: str, gap: str, unit: str, gap_s: int
) -> None:
    typed = {"gap": gap, "unit": unit, "touch_on": "any"}
    assert manager.press(f"{settings_page}/idle-gap", data=typed).status_code == 303
    now = shop.get(f"/api/businesses/{shop.id}").json
    assert (now["idle_gap_s"], now["touch_on"]) == (gap_s, "any")
    assert "It counts from each chat's next message." in words_of(manager.read(settings_page))


@pytest.mark.parametrize(
    ("gap", "unit"),
    [("0", "minute"), ("", "hour"), ("1.5", "hour"), ("31", "day"), ("-5", "minute"),
     ("9" * 400, "day"), ("5", "second"), ("²", "minute")],
)  # fmt: skip
def test_an_idle_time_out_of_bounds_is_refused_and_kept_to_be_mended(
    *, shop: Shop, manager: Reader, settings_page: str, gap: str, unit: str
) -> None:
    answer = manager.press(
        f"{settings_page}/idle-gap", data={"gap": gap, "unit": unit, "touch_on": "any"}
    )
    assert answer.status_code == 422
    assert "Between 1 minute and 30 days, as a whole number." in words_of(answer.text)
    assert not gap or f'value="{gap}"' in answer.text
    assert shop.get(f"/api/businesses/{shop.id}").json["idle_gap_s"] == 900


@pytest.mark.parametrize(
    ("gap_s", "written"),
    [(60, (1, "minute")), (5_400, (90, "minute")), (7_200, (2, "hour")), (86_400, (1, "day")),
     (1, (1, "minute")), (90, (2, "minute"))],
)  # fmt: skip
def test_a_gap_is_written_in_its_largest_whole_unit(gap_s: int, written: tuple[int, str]) -> None:
    assert write_gap(gap_s) == written
    if gap_s % 60 == 0:
        assert read_gap_s({"gap": str(written[0]), "unit": written[1]}) == gap_s


def test_a_changed_idle_time_leaves_open_chats_their_deadline(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    line = shop.connect()
    shop.record(line, "hello")
    (before,) = shop.sessions
    typed = {"gap": "1", "unit": "minute", "touch_on": "customer"}
    assert manager.press(f"{settings_page}/idle-gap", data=typed).status_code == 303
    assert shop.sessions == [before]
    shop.record(line, "still there")
    (after,) = shop.sessions
    assert after["deadline_at"] < before["deadline_at"]


def test_how_chats_are_summarised_is_chosen_and_shown(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    typed = {
        "summarizer": "openai",
        "summary_model": "gpt-5",
        "summary_language": "he",
        "summary_instructions": "note the size <b>",
    }
    assert manager.press(f"{settings_page}/summaries", data=typed).status_code == 303
    now = shop.get(f"/api/businesses/{shop.id}").json
    assert {name: now[name] for name in typed} == typed
    page = manager.read(settings_page)
    assert '<option value="openai" selected>' in page
    assert 'value="gpt-5"' in page
    assert "note the size &lt;b&gt;</textarea>" in page
    back = dict.fromkeys(typed, "")
    assert manager.press(f"{settings_page}/summaries", data=back).status_code == 303
    now = shop.get(f"/api/businesses/{shop.id}").json
    assert [now[name] for name in typed] == [None, None, None, ""]


def test_a_model_that_cannot_be_one_is_refused_beside_its_field(
    shop: Shop, manager: Reader, settings_page: str
) -> None:
    typed = {"summary_model": "a model with blanks", "summary_instructions": "keep me"}
    answer = manager.press(f"{settings_page}/summaries", data=typed)
    assert answer.status_code == 422
    assert 'aria-describedby="summary_model-help summary_model-problem"' in answer.text
    assert "keep me</textarea>" in answer.text
    assert shop.get(f"/api/businesses/{shop.id}").json["summary_model"] is None


@pytest.mark.parametrize(
    "change",
    [{"summarizer": "magic"}, {"summary_language": "xx"}, {"summary_language": "Hebrew"},
     {"summary_instructions": "x" * 1001}],
)  # fmt: skip
def test_the_api_refuses_wishes_that_nobody_can_fulfil(shop: Shop, change: dict[str, str]) -> None:
    assert shop.patch(f"/api/businesses/{shop.id}", change).status_code == 422


def test_a_connection_of_nothing_is_404(manager: Reader, settings_page: str) -> None:
    assert manager.press(f"{settings_page}/connections/{uuid4()}/remove").status_code == 404
