# ruff: noqa: F811 - fixtures are asked for by their names
"""`<active-chats>` on somebody else's page: another origin, a real browser, server and listener."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.acceptance.test_console_in_browser import (  # noqa: F401 - fixtures
    PATIENCE_MS,
    Console,
    Shop,
    browser,
    console,
)
from tests.support.accessibility import faults_of

pytestmark = pytest.mark.browser

# As strict as a page can be that shows the element: no style or markup of it needs an exception.
POLICY = "default-src 'none'; script-src {0}; connect-src {0}; require-trusted-types-for 'script'"
COUNT = "**/public/active-chats"
PERIOD_MS = 30_000


@dataclass
class Site:
    """A page of somebody else's, with the element in it."""

    origin_of_service: str
    address: str = ""
    html: str = ""

    def show(self, page: Page, element: str, *, kind: str = "defer", language: str = "en") -> None:
        self.html = (
            f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>CRM</title>'
            '<link rel="icon" href="data:,">'
            f'<script {kind} src="{self.origin_of_service}/active-chats.js"></script>'
            f"<main><h1>CRM</h1>{element}</main>"
        )
        page.goto(self.address)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *arguments: Any) -> None:
        self._site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", POLICY.format(self._site.origin_of_service))
        self.end_headers()
        self.wfile.write(self._site.html.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing: a test's output is its failures."""


@pytest.fixture
def site(console: Console) -> Iterator[Site]:
    site = Site(console.address)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, site))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose clock the test holds, and in which nothing may throw."""
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.add_init_script("""
        window.told = [];
        document.addEventListener("change", ({detail}) => told.push(detail.count), true);
        document.addEventListener("refused", () => told.push("refused"), true);
        addEventListener("unhandledrejection", ({reason}) => reportError(reason));
    """)
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield page
    context.close()
    assert thrown == []


def token_of(shop: Shop, **asked: Any) -> str:
    made = shop.console.services.count_tokens.make(shop.id, **{"lasts_s": 3600, **asked})
    return made[0]


def element_of(shop: Shop, **attributes: str) -> str:
    given = {"src": shop.console.address, "token": token_of(shop), **attributes}
    written = " ".join(f'{name}="{value}"' for name, value in given.items())
    return f"<active-chats {written}></active-chats>"


def answer(route: Route, body: str) -> None:
    route.fulfill(body=body, headers={"Access-Control-Allow-Origin": "*"})


def expect_line(page: Page, label: str, number: str) -> None:
    line = page.locator("active-chats")
    expect(line.locator("[part=label]")).to_have_text(label, timeout=PATIENCE_MS)
    expect(line.locator("[part~=number]")).to_have_text(number, timeout=PATIENCE_MS)


def set_attribute(page: Page, name: str, value: str) -> None:
    page.locator("active-chats").evaluate("(one, [n, v]) => one.setAttribute(n, v)", [name, value])


def set_hidden(page: Page, *, is_hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def test_another_origins_page_shows_the_number_in_its_language(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    for language, label, direction, kind in (
        ("he", "שיחות פעילות:", "rtl", "defer"),
        ("en", "Active chats:", "ltr", 'type="module"'),
        ("id-ID", "Obrolan aktif:", "ltr", "defer"),
        ("xx_?", "Active chats:", "ltr", "defer"),
    ):
        site.show(page, element_of(shop, lang=language), kind=kind)
        expect_line(page, label, "1")
        line = page.locator("active-chats").get_by_role("status")
        expect(line).to_have_css("direction", direction)
        assert page.evaluate("told") == [1]
        assert page.locator("active-chats").evaluate("one => one.count") == 1
    assert faults_of(page) == []


def test_the_number_follows_and_is_spoken_only_when_it_changes(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    site.show(page, element_of(shop), language="he")
    expect_line(page, "שיחות פעילות:", "1")
    page.locator("active-chats").evaluate("""one => {
        window.spoken = 0;
        const seen = {subtree: true, childList: true, characterData: true};
        new MutationObserver(() => spoken++).observe(one.shadowRoot, seen);
    }""")
    with page.expect_response(COUNT):
        page.clock.run_for(PERIOD_MS)
    shop.hear("hello", customer_wa_id="972500000002")
    with page.expect_response(COUNT):
        page.clock.run_for(PERIOD_MS)
    expect_line(page, "שיחות פעילות:", "2")
    assert page.evaluate("[told, spoken]") == [[1, 2], 1]


def test_large_numbers_are_written_as_the_language_does(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    page.route(COUNT, lambda route: answer(route, '{"active_chats_count": 12345}'))
    site.show(page, element_of(shop, lang="id"))
    expect_line(page, "Obrolan aktif:", "12.345")
    set_attribute(page, "lang", "en-IN")
    expect_line(page, "Active chats:", "12,345")


def test_a_refused_token_is_a_dash_until_the_page_gives_another(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    site.show(page, element_of(shop, token="tsc_wrong"))
    line = page.locator("active-chats")
    expect(line.locator("[part=reason]")).to_have_text("The number cannot be read right now.")
    expect_line(page, "Active chats:", "—")
    with page.expect_response(COUNT):
        set_attribute(page, "token", "tsc_wrong_too")
    with page.expect_response(COUNT):
        set_attribute(page, "token", token_of(shop, origins=["https://other.example"]))
    expect_line(page, "Active chats:", "—")
    set_attribute(page, "token", token_of(shop, origins=[site.address]))
    expect_line(page, "Active chats:", "1")
    expect(line.locator("[part=reason]")).to_have_text("")
    assert page.evaluate("told") == ["refused", 1]


def test_a_server_that_is_gone_or_says_nothing_is_a_dash_and_comes_back(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    site.show(page, element_of(shop))
    expect_line(page, "Active chats:", "1")
    page.route(COUNT, lambda route: route.abort())
    page.clock.run_for(PERIOD_MS)
    expect_line(page, "Active chats:", "—")
    page.unroute(COUNT)
    page.clock.run_for(PERIOD_MS)
    expect_line(page, "Active chats:", "1")
    page.route(COUNT, lambda _: None)
    with page.expect_request(COUNT):
        page.clock.run_for(PERIOD_MS)
    with page.expect_event("requestfailed"):
        page.clock.run_for(10_000)
    expect_line(page, "Active chats:", "—")
    assert page.evaluate("told") == [1, None, 1, None]
    page.unroute(COUNT)
    answers = iter(['{"active_chats_count": -1}', '{"active_chats_count": "7"}', "null", "<"])
    page.route(COUNT, lambda route: answer(route, next(answers)))
    for number in range(4):
        with page.expect_response(COUNT):
            set_attribute(page, "token", f"another-{number}")
    set_attribute(page, "src", "https://[")
    expect_line(page, "Active chats:", "—")
    assert page.evaluate("told") == [1, None, 1, None]


def test_nothing_is_asked_in_a_hidden_page_or_after_removal(
    console: Console, page: Page, site: Site
) -> None:
    shop = console.open_shop()
    shop.hear("hello")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/public/" in one.url else None)
    site.show(page, element_of(shop, **{"refresh-s": "1"}))
    expect_line(page, "Active chats:", "1")
    page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
    shop.hear("hello", customer_wa_id="972500000002")
    set_attribute(page, "token", token_of(shop))
    expect_line(page, "Active chats:", "2")
    so_far = len(asked)
    page.clock.run_for(4_900)
    assert len(asked) == so_far
    with page.expect_response(COUNT):
        page.clock.run_for(200)
    set_hidden(page, is_hidden=True)
    set_attribute(page, "token", token_of(shop))
    page.clock.run_for(10 * PERIOD_MS)
    assert len(asked) == so_far + 1
    with page.expect_response(COUNT):
        set_hidden(page, is_hidden=False)
    page.evaluate("window.kept = document.querySelector('active-chats'); kept.remove()")
    page.clock.run_for(10 * PERIOD_MS)
    set_hidden(page, is_hidden=False)
    page.evaluate("kept.setAttribute('token', 'other')")
    assert len(asked) == so_far + 2
    shop.hear("hello", customer_wa_id="972500000003")
    page.evaluate(
        "token => { kept.setAttribute('token', token); document.body.append(kept); }",
        token_of(shop),
    )
    expect_line(page, "Active chats:", "3")
