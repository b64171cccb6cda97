"""`timer-service connection`: the same operations from the shell, and the QR code in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.support.fake_control_gateway import Answer, Asked, ControlApi, FakeControlGateway
from tests.web.shop import Shop
from timer_service import cli, cli_connections, connection_control
from timer_service.errors import Conflict, GatewayFailed, NotFound
from timer_service.resources import QrCode
from timer_service.wiring import WebServices


class Followed(ControlApi):
    """A gateway whose code expires once it was shown twice, and is scanned after two more."""

    def answer(self, asked: Asked) -> Answer:
        answer = super().answer(asked)
        shown = [one for one in self.asked if one.path.endswith("/auth/qr")]
        if asked.path.endswith("/auth/qr") and len(shown) == 2:
            self.renew("default")
        elif asked.path.endswith("/auth/qr") and len(shown) == 4:
            self.scan("default")
        return answer


@pytest.fixture
def gateway() -> Iterator[FakeControlGateway]:
    with FakeControlGateway(Followed()) as gateway:
        yield gateway


@pytest.fixture
def connection(
    shop: Shop,
    gateway: FakeControlGateway,
    services: WebServices,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Give a WAHA connection to the commands, which find this application's own services."""
    monkeypatch.setattr(connection_control, "QR_ASK_AGAIN_S", 0)
    monkeypatch.setattr(
        cli_connections, "_open", lambda one: (services, services.control.business_of(one))
    )
    secrets = {"hmac_key": "very-secret", "api_key": gateway.api.key}
    return shop.connect("waha", external_id="default", base_url=gateway.url, secrets=secrets)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["connection", *words])


def last_line(result: Result) -> str:
    return result.output.splitlines()[-1]


def test_a_device_goes_through_its_life_from_the_shell(
    connection: dict[str, Any], gateway: FakeControlGateway
) -> None:
    made = run("create", connection["id"])
    assert last_line(made) == "waiting_qr: Waiting for somebody to scan the QR code with WhatsApp."
    assert "Proof    hmac_key\n" in run("set-up-webhook", connection["id"]).output
    assert last_line(run("pairing-code", connection["id"], "+62 812 3456 7890")) == "ABCD-1234"
    gateway.api.scan("default")
    assert last_line(run("refresh", connection["id"])) == "connected"
    checked = run("check", connection["id"])
    assert (checked.exit_code, last_line(checked)) == (0, "It works.")
    assert last_line(run("stop", connection["id"])).startswith("stopped")
    assert run("check", connection["id"]).exit_code == 1
    assert last_line(run("pull-contacts", connection["id"])).startswith("queued")
    assert last_line(run("remove", connection["id"])) == "removed"
    assert gateway.api.devices == {}


def test_the_qr_code_is_drawn_drawn_anew_and_ends_when_it_was_scanned(
    connection: dict[str, Any], gateway: FakeControlGateway
) -> None:
    gateway.api.add("default", "waiting").codes = 1
    shown = run("qr", connection["id"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.endswith("Connected.\n")
    assert "█" in shown.output
    assert len([one for one in gateway.asked if one.endswith("/auth/qr")]) == 5
    assert gateway.api.devices["default"].codes == 2


def test_no_code_and_no_scan_end_with_a_clear_word(
    connection: dict[str, Any], gateway: FakeControlGateway
) -> None:
    gateway.api.add("default", "stopped")
    stopped = run("qr", connection["id"])
    assert isinstance(stopped.exception, Conflict)
    assert "Stopped at the gateway" in str(stopped.exception)
    gateway.api.devices["default"].state = "waiting"
    unscanned = run("qr", connection["id"], "--wait", "0s")
    assert "nobody scanned a code in 0s" in str(unscanned.exception)
    gateway.api.devices.clear()
    unknown = run("qr", connection["id"])
    assert isinstance(unknown.exception, Conflict | GatewayFailed)
    nobody = run("qr", str(uuid4()))
    assert isinstance(nobody.exception, NotFound)


def test_each_code_is_shown_once() -> None:
    texts = ["one", "one", "two", None]
    shown: list[str | None] = []

    def ask() -> QrCode:
        text = texts.pop(0)
        status = "waiting_qr" if text else "connected"
        return QrCode(status=status, status_reason=None, text=text, expires_at=None, ask_again_s=0)

    status = cli_connections._watch(ask, show=lambda code: shown.append(code.text), within_s=60)
    assert (status, shown) == ("connected", ["one", "two"])
