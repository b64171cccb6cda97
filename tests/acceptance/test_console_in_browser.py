"""The console as a shop owner has it: a real browser, a real server, and the real listener."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import Browser, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from timer_http import create_app
from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import ProviderName
from timer_service.service import NewMessage
from timer_service.settings import Settings
from timer_service.wiring import WebServices, build_listener, build_web

pytestmark = pytest.mark.browser

SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PATIENCE_MS = 15_000
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>"


class _SilentHandler(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Say nothing: a test's output is its failures."""


@dataclass
class Console:
    """The service, serving; and a business on it."""

    address: str
    services: WebServices

    def open_shop(self, name: str = "נעלי הכרמל", **values: Any) -> Shop:
        business, key = self.services.administration.add_business({"name": name, **values})
        connection = self.services.administration.add_connection(
            BusinessId(business.id),
            provider=ProviderName.BAILEYS,
            external_id="shop",
            name=name,
            secrets={"token": "token-of-the-shop"},
        )
        return Shop(self, BusinessId(business.id), ConnectionId(connection.id), key)


@dataclass
class Shop:
    console: Console
    id: BusinessId
    connection_id: ConnectionId
    key: str
    heard_so_far: int = 0

    @property
    def address(self) -> str:
        return f"{self.console.address}/console/businesses/{self.id}"

    def hear(self, text: str, **values: Any) -> str:
        """Record a customer's message; return its conversation's address."""
        self.heard_so_far += 1
        given = {
            "provider_message_id": f"m{self.heard_so_far}",
            "customer_wa_id": "972500000001",
            "direction": "in",
            "text": text,
            **values,
        }
        service = self.console.services.service
        (recorded,) = service.record_messages(self.id, self.connection_id, [NewMessage(**given)])
        return f"{self.address}/sessions/{recorded.session_id}"

    def sign_in(self, page: Page) -> None:
        page.goto(f"{self.console.address}/sign-in")
        page.locator("#key").fill(self.key)
        page.locator("main button").click()
        expect(page).to_have_url(self.address)
        page.wait_for_load_state()  # the address is there before the page and its styles are


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


@pytest.fixture
def console(database_url: str, redis_url: str) -> Iterator[Console]:
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        encryption_keys=Fernet.generate_key().decode(),
    )
    services = build_web(settings)
    listening = build_listener(settings)
    stop = Event()
    app = create_app(services)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_SilentHandler)
    threads = [
        Thread(target=listening.listener.run, args=(stop,)),
        Thread(target=listening.sweeper.run, args=(stop,)),
        Thread(target=server.serve_forever, args=(0.05,)),
    ]
    for thread in threads:
        thread.start()
    yield Console(f"http://127.0.0.1:{server.port}", services)
    server.shutdown()
    stop.set()
    listening.sweeper.wake()
    for thread in threads:
        thread.join()
    server.server_close()
    listening.sweeper._database.close()
    services.database.close()


def expect_live_line(page: Page, words: str) -> None:
    expect(page.locator("#active-chats")).to_have_text(words, timeout=PATIENCE_MS)


def test_the_number_rises_with_a_message_and_falls_when_the_customer_goes_quiet(
    console: Console, page: Page
) -> None:
    shop = console.open_shop(locale="he-IL", idle_gap_s=10)
    shop.sign_in(page)
    assert page.locator("html").get_attribute("dir") == "rtl"
    expect_live_line(page, "שיחות פעילות: 0")
    shop.hear("יש לכם סנדלים במידה 38?", customer_name="דנה לוי")
    expect_live_line(page, "שיחות פעילות: 1")
    expect(page.locator("[data-active-chats]")).to_have_text("1")
    row = page.get_by_role("link", name="דנה לוי")
    expect(row).to_contain_text("פעילה", timeout=PATIENCE_MS)
    bar = row.get_by_role("progressbar", name="הזמן שנותר")
    seen = bar.evaluate("bar => bar.value")
    assert 0 < seen < 1
    page.wait_for_function("seen => document.querySelector('progress').value < seen", arg=seen)
    expect_live_line(page, "שיחות פעילות: 0")
    expect(row).to_contain_text("הסתיימה: הלקוח הפסיק להגיב", timeout=PATIENCE_MS)
    row.click()
    expect(page.locator("h1")).to_have_text("דנה לוי")
    expect(page.locator(".bubble-in")).to_contain_text("יש לכם סנדלים במידה 38?")


def test_the_number_is_a_dash_while_the_server_is_away(console: Console, page: Page) -> None:
    shop = console.open_shop(locale="id")
    shop.hear("Halo kak")
    shop.sign_in(page)
    expect_live_line(page, "Obrolan aktif: 1")
    page.context.set_offline(True)
    expect_live_line(page, "Obrolan aktif: —")
    expect(page.get_by_text("Angkanya tidak bisa dibaca saat ini.")).to_be_visible()
    page.context.set_offline(False)
    expect_live_line(page, "Obrolan aktif: 1")


def test_the_number_is_the_largest_thing_on_the_page(console: Console, page: Page) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    shop.sign_in(page)
    expect(page.locator("[data-active-chats]")).to_have_text("1", timeout=PATIENCE_MS)
    sizes = page.evaluate("""() => [...document.querySelectorAll('body *')].map(
        one => [parseFloat(getComputedStyle(one).fontSize), 'activeChats' in one.dataset])""")
    largest = max(size for size, _ in sizes)
    assert [is_number for size, is_number in sizes if size == largest] == [True]


def test_what_others_wrote_runs_nowhere_and_nothing_is_fetched_from_elsewhere(
    console: Console, page: Page
) -> None:
    shop = console.open_shop(HOSTILE)
    conversation = shop.hear(HOSTILE, customer_name=HOSTILE)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None,
    )
    page.on("request", lambda request: requests.append(request.url))
    shop.sign_in(page)
    shop.hear("another", customer_name=HOSTILE)
    expect(page.locator(".row-what")).to_have_text("Messages: 2", timeout=PATIENCE_MS)
    page.goto(conversation)
    expect(page.locator(".bubble .words").first).to_have_text(HOSTILE)
    shop.hear("a third one")
    expect(page.locator(".bubble")).to_have_count(3, timeout=PATIENCE_MS)
    assert complaints == []
    assert {url.startswith(console.address) for url in requests} == {True}


@pytest.mark.slow
def test_a_part_that_did_not_change_is_left_alone(console: Console, page: Page) -> None:
    shop = console.open_shop()
    conversation = shop.hear("hello")
    shop.sign_in(page)
    with page.expect_response("**/conversations"):
        pass
    row = page.locator(".row").element_handle()
    for _ in range(2):
        with page.expect_response("**/conversations"):
            pass
    assert row.evaluate("row => row.isConnected")
    page.goto(conversation)
    page.locator("#close-now summary").click()
    shop.hear("wait, one more thing")
    expect(page.locator(".bubble")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Yes, close it")).to_be_visible()


def test_everything_but_liveness_works_without_scripts_and_by_keyboard(
    console: Console, browser: Browser
) -> None:
    shop = console.open_shop()
    shop.hear("hello", customer_name="Dana Levi")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    shop.sign_in(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("link", name="Dana Levi").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, close it")).to_be_hidden()
    page.locator("#close-now summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Yes, close it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".facts")).to_contain_text("Closed by an agent")
    context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("locale", ["en", "he", "id"])
def test_nothing_sticks_out_sideways(
    console: Console, browser: Browser, width: int, locale: str
) -> None:
    shop = console.open_shop("A shop with quite a long name on the main street", locale=locale)
    conversation = shop.hear("https://example.invalid/" + "x" * 300, customer_name="N" * 150)
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    shop.sign_in(page)
    for address in (shop.address, conversation):
        page.goto(address)
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    context.close()
