"""A phone is linked while the page watches: codes come and go, and it ends by itself.

With SCREENSHOTS=<folder> the pages are also kept as pictures.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.test_console_in_browser import (  # noqa: F401 - fixtures are used by name
    Console,
    browser,
    console,
)
from tests.acceptance.test_console_pages import PHONE, look
from tests.support.fake_control_gateway import FakeControlGateway
from timer_service.messages import ProviderName

pytestmark = pytest.mark.browser

WORDS = {
    "he": ("קישור טלפון", "הפעלה", "ממתין לסריקת QR", "מחובר", "בדיקה"),
    "en": ("Link a phone", "Start", "Waiting for QR", "Connected", "Check"),
}


@pytest.mark.parametrize("language", ["he", "en"])
def test_a_phone_is_linked_while_the_page_watches(
    console: Console,  # noqa: F811
    browser: Browser,  # noqa: F811
    language: str,
) -> None:
    link, start, waiting, connected, check = WORDS[language]
    shop = console.open_shop(locale=language)
    with FakeControlGateway() as gateway:
        console.services.administration.add_connection(
            shop.id,
            provider=ProviderName.WAHA,
            external_id="desk",
            name="Desk",
            base_url=gateway.url,
            secrets={"hmac_key": "very-secret-hmac", "api_key": gateway.api.key},
        )
        gateway.api.add("desk")
        context = browser.new_context(viewport={"width": PHONE, "height": 844})
        page = context.new_page()
        shop.sign_in(page)
        page.goto(f"{shop.address}/settings")
        look(page, f"settings-linking-{language}")
        page.get_by_role("link", name=link).click()
        expect(page.locator("h1")).to_have_text(link)
        page.wait_for_load_state()
        look(page, f"link-stopped-{language}")
        page.get_by_role("button", name=start, exact=True).click()
        state = page.locator("#link-state")
        expect(state).to_have_text(waiting)
        expect(page.locator(".qr svg")).to_be_visible()
        look(page, f"link-{language}")
        first = page.locator(".qr path").last.get_attribute("d")
        gateway.api.renew("desk")
        code = page.locator(".qr path").last
        expect(code).not_to_have_attribute("d", first or "", timeout=15_000)
        gateway.api.scan("desk")
        expect(state).to_have_text(re.compile(connected), timeout=15_000)
        expect(page.locator(".qr")).to_have_count(0)
        look(page, f"link-connected-{language}")
        page.get_by_role("link", name=check, exact=True).click()
        expect(page.locator("h1")).to_have_text(check)
        page.wait_for_load_state()  # the words are there before their styles are
        look(page, f"check-{language}")
        context.close()
