# ruff: noqa: F811 - fixtures are asked for by their names
"""Conversations and contacts as a shop's people use them: a real browser, server and listener."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.test_console_in_browser import (  # noqa: F401 - fixtures
    PATIENCE_MS,
    Console,
    browser,
    console,
    page,
)
from tests.support.accessibility import faults_of, sticks_out
from timer_service.clock import utc_now
from timer_service.contact_book import NewTask, Writer

pytestmark = pytest.mark.browser


def test_a_conversation_appears_in_the_list_counts_down_and_closes_by_itself(
    console: Console,
    page: Page,
) -> None:
    shop = console.open_shop(locale="he-IL", idle_gap_s=8)
    shop.sign_in(page)
    page.goto(f"{shop.address}/conversations")
    expect(page.locator(".row")).to_have_count(0)
    shop.hear("יש לכם סנדלים במידה 38?", customer_name="דנה לוי")
    row = page.locator(".row")
    expect(row).to_contain_text("דנה לוי", timeout=PATIENCE_MS)
    expect(row.get_by_role("progressbar")).to_be_visible()
    expect(row).to_contain_text("הסתיימה", timeout=PATIENCE_MS)


def test_what_is_typed_stays_while_a_message_arrives(
    console: Console,
    page: Page,
) -> None:
    shop = console.open_shop()
    conversation = shop.hear("hello")
    shop.sign_in(page)
    page.goto(conversation)
    box = page.get_by_role("textbox", name="Answer")
    box.fill("half an answ")
    box.focus()
    shop.hear("are you there?")
    expect(page.locator(".bubble")).to_have_count(2, timeout=PATIENCE_MS)
    expect(box).to_have_value("half an answ")
    expect(box).to_be_focused()


@pytest.mark.parametrize(("locale", "width"), [("he-IL", 390), ("en", 1280)])
def test_a_story_from_search_to_note_works_by_forms_alone(
    console: Console,
    browser: Browser,
    locale: str,
    width: int,
) -> None:
    shop = console.open_shop(locale=locale)
    shop.hear("is the blue one in stock?", customer_name="Dana Levi" + "x" * 80)
    shop.hear("hello", customer_wa_id="972500000002", customer_name="Noam")
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": width, "height": 800}
    )
    page = context.new_page()
    shop.sign_in(page)
    page.goto(f"{shop.address}/conversations")
    page.locator("#search").fill("blue")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".chip")).to_have_count(1)
    page.locator(".row").click()
    for form, field in (("#tasks", "input[name=text]"), ("#notes", "textarea")):
        part = page.locator(form)
        part.locator(".adder > summary").click()
        part.locator(field).fill("call, " + "y" * 90)
        part.locator(".adder button").click()
        expect(page.locator(form)).to_contain_text("call, ")
        expect(page).to_have_url(re.compile(f"/sessions/.*{form}$"))
    page.locator(".crm > p a").click()
    expect(page.locator("#notes")).to_contain_text("call, ")
    page.locator("#tasks button.tick").first.click()
    expect(page.locator(".done-tasks")).to_be_visible()
    page.locator("#attributes .adder > summary").click()
    page.locator("#attributes input[name=name]").fill("size")
    page.locator("#attributes input[name=value]").fill("z" * 120)
    page.locator("#attributes .adder button").click()
    expect(page.locator(".attributes dd")).to_contain_text("zzz")
    for address in (page.url, f"{shop.address}/contacts", f"{shop.address}/conversations?q=blue"):
        page.goto(address)
        assert not sticks_out(page), address
    context.close()


@pytest.mark.parametrize(("locale", "scheme"), [("he", "light"), ("en", "dark")])
def test_the_pages_can_be_used_by_everybody(
    console: Console, browser: Browser, locale: str, scheme: Any
) -> None:
    shop = console.open_shop(locale=locale)
    conversation = shop.hear("is the blue one in stock?", customer_name="Dana Levi")
    book = console.services.contact_book
    (dana,) = book.contacts(shop.id)
    book.add_note(shop.id, dana.id, "likes blue", Writer("Maya"))
    long_ago = utc_now() - timedelta(days=3)
    book.add_task(shop.id, dana.id, NewTask("call", due_at=long_ago, assignee="Maya"), Writer("x"))
    book.change_attributes(shop.id, dana.id, {"size": "38"})
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    shop.sign_in(page)
    listed, contacts = f"{shop.address}/conversations", f"{shop.address}/contacts"
    for address in (
        f"{listed}?q=blue&provider=baileys", f"{listed}?q=none", conversation, contacts,
        f"{contacts}/{dana.id}",
    ):  # fmt: skip
        page.goto(address)
        for details in page.locator("main .adder, main .take-away").all():
            details.locator("summary").click()
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            assert not sticks_out(page), (address, width)
        assert faults_of(page) == [], address
    context.close()
