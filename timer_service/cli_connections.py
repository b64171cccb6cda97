"""Connections from the shell: link a device by QR code, start and stop it, find what is wrong.

Words of ``timer-service connection`` for whoever holds the server; the same operations as the API.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from timer_service.durations import parse_duration_s
from timer_service.errors import Conflict
from timer_service.ids import BusinessId

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from timer_service.connection_control import ConnectionControl
    from timer_service.resources import Connection, QrCode
    from timer_service.wiring import WebServices

ConnectionId = Annotated[UUID, typer.Argument(help="The connection's id.")]

_NOTE_LINES = 4
_ENDED = {"failed", "stopped", "logged_out", "removed"}


def register(connections: typer.Typer) -> None:
    """Add the words of this module to those of ``timer-service connection``."""
    for name, command in (
        ("list", list_connections),
        ("qr", show_qr),
        ("pairing-code", show_pairing_code),
        ("set-up-webhook", set_up_webhook),
        ("check", check),
        ("pull-contacts", pull_contacts),
    ):
        connections.command(name)(command)
    for action, help_text in (
        ("create", "Make it at the gateway, with our webhook, and start it."),
        ("start", "Begin to link a device, or to connect again."),
        ("stop", "Stop without losing the link (WAHA)."),
        ("restart", "Connect anew."),
        ("log-out", "Unlink the device; it stays at the gateway."),
        ("remove", "Delete it at the gateway; it stays here."),
        ("refresh", "Ask the gateway how it is."),
    ):
        connections.command(action, help=help_text)(_action(action.replace("-", "_")))


def list_connections(
    business: Annotated[UUID, typer.Option("--business", help="The business's id.")],
) -> None:
    """List a business's connections and how they are."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    administration = build_web(load_settings()).administration
    before: UUID | None = None
    while True:
        found = administration.list_connections(BusinessId(business), before=before, limit=100)
        for one in found:
            typer.echo(f"{one.id}  {one.provider:<8}  {_state(one)}")
        if not found:
            return
        before = found[-1].id


def show_qr(
    connection: ConnectionId,
    *,
    wait: Annotated[str, typer.Option(help="How long to wait for a scan.")] = "5m",
) -> None:
    """Draw the QR code to scan, each new one as it comes, until the connection is linked."""
    from rich.console import Console
    from rich.live import Live

    services, business_id = _open(connection)
    console = Console()
    # A code taller than the window is shown whole, to be seen by scrolling or a larger window.
    with Live(
        console=console, auto_refresh=False, transient=True, vertical_overflow="visible"
    ) as live:

        def show(code: QrCode) -> None:
            picture = _picture(code, console)
            if console.is_terminal:
                live.update(picture, refresh=True)
            else:
                console.print(picture)

        status = _watch(
            lambda: services.control.qr(business_id, connection),
            show=show,
            within_s=parse_duration_s(wait),
        )
    if status != "connected":
        raise Conflict(f"nobody scanned a code in {wait}: the connection is {status}")
    typer.echo("Connected.")


def show_pairing_code(
    connection: ConnectionId,
    phone_number: Annotated[str, typer.Argument(help="The number of the phone to link.")],
) -> None:
    """Print a code to type on the phone instead of scanning."""
    services, business_id = _open(connection)
    typer.echo(services.control.pairing_code(business_id, connection, phone_number).code)


def set_up_webhook(connection: ConnectionId) -> None:
    """Have the gateway send its events here."""
    services, business_id = _open(connection)
    made = services.control.set_up_webhook(business_id, connection)
    typer.echo(f"Webhook  {made.webhook_url}\nEvents   {', '.join(made.events)}")
    typer.echo(f"Proof    {made.proof}{' (made now)' if made.made_secret else ''}")
    if made.retries is not None:
        typer.echo(f"Retries  {made.retries['policy']}, {made.retries['attempts']} attempts")


def check(connection: ConnectionId) -> None:
    """Say what is wrong with a connection; exits 1 where it cannot work."""
    services, business_id = _open(connection)
    checked = services.control.check(business_id, connection)
    for name, value in checked.facts.items():
        typer.echo(f"{name}: {value}")
    for one in checked.findings:
        typer.echo(f"{one.severity}: {one.message} ({one.code})")
    if not checked.ok:
        raise typer.Exit(1)
    typer.echo("It works.")


def pull_contacts(connection: ConnectionId) -> None:
    """Bring the gateway's contacts in, in the background."""
    services, business_id = _open(connection)
    pull = services.puller.ask_for(business_id, connection)
    typer.echo(f"{pull.status}: the worker does it; see GET …/pull-contacts for how far it got")


def _action(name: str) -> Callable[[UUID], None]:
    def act(connection: ConnectionId) -> None:
        services, business_id = _open(connection)
        control: ConnectionControl = services.control
        typer.echo(_state(getattr(control, name)(business_id, connection)))

    return act


def _open(connection_id: UUID) -> tuple[WebServices, BusinessId]:
    import logging

    from timer_service.logs import set_up_logs
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    set_up_logs(logging.ERROR)  # what goes wrong is the command's own last line
    services = build_web(load_settings())
    return services, services.control.business_of(connection_id)


def _state(connection: Connection) -> str:
    reason = f": {connection.status_reason}" if connection.status_reason else ""
    return f"{connection.status}{reason}"


def _watch(ask: Callable[[], QrCode], *, show: Callable[[QrCode], None], within_s: float) -> str:
    """Show each code as it comes, until linked or out of time; return the last status.

    Raises:
        Conflict: no code will come any more.
    """
    from threading import Event

    from timer_service.clock import monotonic_s
    from timer_service.errors import GatewaysBusy

    ends_at_s = monotonic_s() + within_s
    shown: tuple[str, str | None] | None = None
    while True:
        try:
            code = ask()
        except GatewaysBusy:
            Event().wait(1)
            continue
        if code.status == "connected":
            return code.status
        if code.status in _ENDED and code.text is None:
            raise Conflict(f"no code will come: {code.status_reason or code.status}")
        if shown != (code.status, code.text):
            show(code)
            shown = code.status, code.text
        if monotonic_s() >= ends_at_s:
            return code.status
        Event().wait(code.ask_again_s)


def _picture(code: QrCode, console: Console) -> RenderableType:
    from rich.text import Text

    from timer_service.qr_drawing import draw_lines

    if code.text is None:
        return Text(f"Waiting for a code: {code.status_reason or code.status}")
    has_colours = console.color_system is not None and sys.stdout.isatty()
    lines = draw_lines(code.text, is_dark_on_light=has_colours)
    picture = Text("\n".join(lines), style="black on bright_white" if has_colours else "")
    picture.no_wrap = True
    note = "\n\nWhatsApp → linked devices → link a device. The code renews itself; Ctrl-C ends."
    if console.is_terminal and console.height < len(lines) + _NOTE_LINES:
        note += f"\nMake this window {len(lines) + _NOTE_LINES} lines high to see all of it."
    return Text.assemble(picture, note)
