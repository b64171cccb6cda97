"""The console's pages as people use them, in Hebrew and in English, on a phone and on a desk.

With SCREENSHOTS=<folder> each page is also kept as a picture, for the README and the documents.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.test_console_in_browser import (  # noqa: F401 - fixtures are used by name
    Console,
    Shop,
    browser,
    console,
)
from tests.support.accessibility import AXE, faults_of, sticks_out
from timer_service.messages import ConnectionState, ConnectionUpdate, MemberRole

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1280
PASSWORD = "a shoe for every foot"
WORDS = {
    "he": {
        "join": "הצטרפות", "menu": "תפריט", "users": "משתמשים", "settings": "הגדרות WhatsApp",
        "developers": "מפתחים", "invite": "יצירת קישור הזמנה", "save": "שמירה",
        "changed": "הזמן שונה.", "make_key": "יצירת המפתח", "key": "המפתח החדש",
        "password": "בחירת סיסמה", "name": "השם שלך", "link": "קישור", "live": "שיחות פעילות: 1",
        "gap": "שיחה מסתיימת אחרי שקט של", "connect": "חיבור מספר", "overview": "סקירה",
        "webhook": "כתובת webhook, להגדרה בשער",
    },
    "en": {
        "join": "Join", "menu": "Menu", "users": "Users", "settings": "WhatsApp settings",
        "developers": "Developers", "invite": "Make an invitation link", "save": "Save",
        "changed": "The idle time is changed.", "make_key": "Make the key", "key": "The new key",
        "password": "Choose a password", "name": "Your name", "link": "Link",
        "live": "Active chats: 1", "gap": "A chat is over when it was quiet for",
        "connect": "Connect a number", "overview": "Overview",
        "webhook": "Webhook address, to be set at the gateway",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quickly(quick_passwords: None) -> None:
    """Hash passwords without the cost."""


def picture(page: Page, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        width = page.viewport_size["width"] if page.viewport_size else 0
        page.screenshot(path=Path(folder) / f"console-{name}-{width}.png")


def look(page: Page, name: str) -> None:
    """Hold what holds for every page, on both widths, against the page that is open."""
    for width, height in ((PHONE, 844), (DESK, 860)):
        page.set_viewport_size({"width": width, "height": height})
        assert not sticks_out(page), f"{name} at {width} px"
        picture(page, name)
    assert faults_of(page) == [], name


def go(page: Page, place: str) -> None:
    """Go to a place of the navigation on the desk."""
    page.locator(".places").get_by_role("link", name=place, exact=True).click()
    expect(page.locator("h1")).to_contain_text(place)


def invited(shop: Shop) -> str:
    link = shop.console.services.members.invite(shop.id, "rina@shop.example", MemberRole.ADMIN)
    return f"{shop.console.address}/invitation/{link.rpartition('/')[2]}"


@pytest.mark.parametrize("language", ["he", "en"])
def test_an_admin_joins_invites_connects_and_sets(
    console: Console,  # noqa: F811
    browser: Browser,  # noqa: F811
    language: str,
) -> None:
    words = WORDS[language]
    shop = console.open_shop(locale=language)
    shop.hear("יש לכם סנדלים במידה 38?", customer_name="דנה לוי")
    update = ConnectionUpdate(state=ConnectionState.CONNECTED, own_number="972500000009")
    console.services.intake.record(shop.connection_id, [update])
    context = browser.new_context(viewport={"width": PHONE, "height": 844})
    page = context.new_page()

    page.goto(invited(shop))
    look(page, f"join-{language}")
    page.get_by_label(words["name"]).fill("Rina Shalev")
    page.get_by_label(words["password"]).fill(PASSWORD)
    page.get_by_role("button", name=words["join"]).click()
    expect(page.locator("#active-chats")).to_have_text(words["live"])
    assert page.locator("html").get_attribute("dir") == ("rtl" if language == "he" else "ltr")
    look(page, f"overview-{language}")

    # On a phone the places are behind a button; by keyboard too.
    page.set_viewport_size({"width": PHONE, "height": 844})
    expect(page.get_by_role("link", name=words["users"], exact=True)).to_be_hidden()
    page.get_by_role("button", name=words["menu"]).focus()
    page.keyboard.press("Enter")
    picture(page, f"menu-{language}")
    assert faults_of(page) == []
    page.get_by_role("link", name=words["users"], exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(words["users"])
    expect(page.get_by_role("link", name=words["users"], exact=True)).to_be_hidden()

    page.locator("#email").fill("noam@shop.example")
    page.get_by_role("button", name=words["invite"]).click()
    expect(page.get_by_label(words["link"], exact=True)).to_have_value(re.compile("/invitation/"))
    look(page, f"users-{language}")

    go(page, words["settings"])
    expect(page.get_by_label(words["webhook"])).to_have_value(re.compile("/webhooks/baileys/"))
    page.get_by_label(words["gap"]).fill("45")
    page.locator("#idle").get_by_role("button", name=words["save"]).click()
    expect(page.locator(".notice")).to_contain_text(words["changed"])
    expect(page.get_by_label(words["gap"])).to_have_value("45")
    for details in page.locator("main details").all():
        details.locator("summary").click()
    look(page, f"settings-{language}")
    page.get_by_role("button", name=words["connect"]).click()
    page.get_by_role("link", name="WAHA").click()
    look(page, f"connect-{language}")

    go(page, words["developers"])
    page.locator("#name").fill("website")
    page.get_by_role("button", name=words["make_key"]).click()
    expect(page.locator("#made-key")).to_have_value(re.compile("^tsk_"))
    look(page, f"developers-{language}")
    context.close()


def test_dark_pages_are_as_legible(console: Console, browser: Browser) -> None:  # noqa: F811
    shop = console.open_shop(locale="en")
    shop.hear("hello", customer_name="Dana Levi")
    context = browser.new_context(
        viewport={"width": DESK, "height": 860}, color_scheme="dark", java_script_enabled=True
    )
    page = context.new_page()
    page.goto(invited(shop))
    page.get_by_label("Your name").fill("Rina")
    page.get_by_label("Choose a password").fill(PASSWORD)
    page.get_by_role("button", name="Join").click()
    for place in ("Overview", "WhatsApp settings", "Developers", "Users"):
        page.locator(".places").get_by_role("link", name=place, exact=True).click()
        expect(page.locator(".places [aria-current]")).to_have_text(place)
        picture(page, f"dark-{place.split()[0].lower()}-en")
        assert faults_of(page) == [], place
    context.close()


def test_single_keys_move_among_rows_and_can_be_switched_off(
    console: Console,  # noqa: F811
    browser: Browser,  # noqa: F811
) -> None:
    shop = console.open_shop(locale="en")
    for number in (1, 2):
        shop.hear("hello", customer_wa_id=f"97250000000{number}", customer_name=f"Dana {number}")
    page = browser.new_page()
    shop.sign_in(page)
    rows = page.locator("main a.row")
    page.keyboard.press("j")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert faults_of(page) == []
    page.get_by_label("Single keys work").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.locator("body").press("j")
    page.reload()
    page.keyboard.press("j")
    expect(page.locator("main a.row:focus")).to_have_count(0)
    page.keyboard.press("?")
    page.get_by_label("Single keys work").check()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("j")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile("/sessions/"))
    page.close()


def test_forms_work_without_scripts(console: Console, browser: Browser) -> None:  # noqa: F811
    shop = console.open_shop(locale="id")
    context = browser.new_context(
        viewport={"width": PHONE, "height": 844}, java_script_enabled=False
    )
    page = context.new_page()
    page.goto(invited(shop))
    page.locator("#name").fill("Rina")
    page.locator("#password").fill("short")
    page.locator("main button").click()
    if page.locator("#password-problem").count() == 0:  # the browser itself asked for more
        page.locator("#password").fill(PASSWORD)
        page.locator("main button").click()
    expect(page.locator("#active-chats")).to_have_text("Obrolan aktif: 0")
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Pengguna", exact=True).click()
    page.locator("#email").fill("noam@shop.example")
    page.get_by_role("button", name="Buat tautan undangan").click()
    expect(page.locator("#invitation-link")).to_have_value(re.compile("/invitation/"))
    expect(page.locator("[data-copy]")).to_be_hidden()
    context.close()


def test_the_judge_is_the_one_its_table_names() -> None:
    table = (AXE.parents[1] / "README.md").read_text("utf-8")
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() in table
    assert (AXE.parent / "LICENSE").stat().st_size > 0


def test_the_judge_finds_what_is_wrong(browser: Browser) -> None:  # noqa: F811
    page = browser.new_page()
    page.set_content("<html><title>x</title><main><input><p style='color:#ccc'>pale</p></main>")
    found = " ".join(faults_of(page))
    assert "label: " in found
    assert "color-contrast: " in found
    assert "html-has-lang: " in found
    page.close()
