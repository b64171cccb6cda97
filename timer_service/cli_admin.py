"""Administration from the shell: businesses, keys, connections, and what a spool set aside.

What is done at gateways is in `cli_connections`.
Words of the `timer-service` command for whoever holds the server; the same operations as the API.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from timer_service import cli_connections
from timer_service.durations import parse_duration_s
from timer_service.errors import ConfigurationError, InvalidInput, NotFound
from timer_service.ids import BusinessId
from timer_service.messages import KEY_ROLES, MemberRole, ProviderName, Role

businesses = typer.Typer(help="Businesses.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
connections = typer.Typer(help="Connections.", no_args_is_help=True)
users = typer.Typer(help="People who sign in to the console.", no_args_is_help=True)
spools = typer.Typer(help="What this host's spool set aside.", no_args_is_help=True)

if TYPE_CHECKING:
    from timer_service.spool import Spool

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="The spool's folder, if not TIMER_SPOOL_DIR.")
]
BusinessOption = Annotated[UUID, typer.Option("--business", help="The business's id.")]


@businesses.command("add")
def add_business(
    name: str,
    *,
    idle_gap: Annotated[str | None, typer.Option(help="Silence that ends a session.")] = None,
    country: Annotated[str | None, typer.Option(help="Two letters, such as IL.")] = None,
    locale: Annotated[str, typer.Option(help="he, en, id …")] = "en",
    timezone: Annotated[str, typer.Option(help="Such as Asia/Jerusalem.")] = "UTC",
) -> None:
    """Make a business and print its manager key, this once."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    values: dict[str, object] = {"name": name, "locale": locale, "timezone": timezone}
    if idle_gap:
        values["idle_gap_s"] = parse_duration_s(idle_gap)
    if country:
        values["country"] = country.upper()
    business, key = build_web(load_settings()).administration.add_business(values)
    typer.echo(f"Business  {business.id}\nKey       {key}")


@businesses.callback()
def _businesses() -> None:
    """Keep `add` a word of its own: a lone command would swallow its group."""


@keys.command("add")
def add_key(
    business: BusinessOption,
    role: Annotated[Role, typer.Option(help="viewer, agent or manager.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
) -> None:
    """Make an API key and print it, this once."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    if role not in KEY_ROLES:
        raise InvalidInput("the admin key is TIMER_ADMIN_KEY: expected viewer, agent or manager")
    services = build_web(load_settings())
    owner = services.administration.business(business)
    key_id, key = services.keys.add(BusinessId(owner.id), role, name)
    typer.echo(f"Key id  {key_id}\nKey     {key}")


@keys.callback()
def _keys() -> None:
    """Keep `add` a word of its own."""


@connections.command("add")
def add_connection(
    *,
    business: BusinessOption,
    provider: Annotated[ProviderName, typer.Option(help="The kind of gateway.")],
    external_id: Annotated[str, typer.Option(help="The account's id at the gateway.")],
    secret: Annotated[
        list[str], typer.Option(help="NAME=VALUE, or NAME=- to type it unseen; repeat.")
    ],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    base_url: Annotated[str | None, typer.Option(help="The gateway's own address.")] = None,
) -> None:
    """Connect an account and print the webhook address to set at the gateway."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    connection = build_web(load_settings()).administration.add_connection(
        BusinessId(business),
        provider=provider,
        external_id=external_id,
        name=name,
        base_url=base_url,
        secrets=dict(_read_secret(one) for one in secret),
    )
    typer.echo(f"Connection  {connection.id}\nWebhook     {connection.webhook_url}")


cli_connections.register(connections)


@users.command("invite")
def invite_user(
    email: str,
    *,
    business: BusinessOption,
    role: Annotated[MemberRole, typer.Option(help="What they may do.")] = MemberRole.AGENT,
) -> None:
    """Print a link by which somebody may join a business: once, within a week."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    typer.echo(build_web(load_settings()).members.invite(BusinessId(business), email, role))


@users.command("list")
def list_users(business: BusinessOption) -> None:
    """List the people of a business."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    services = build_web(load_settings())
    owner = services.administration.business(business)
    for one in services.members.members_of(BusinessId(owner.id)):
        typer.echo(f"{one.id}  {one.role.value:<8}  {one.email}  {one.name}")


@users.command("reset")
def reset_password(email: str) -> None:
    """Print a link by which somebody may choose a new password: once, within a day."""
    from timer_service.settings import load_settings
    from timer_service.wiring import build_web

    settings = load_settings()
    token = build_web(settings).people.make_reset(email)
    typer.echo(f"{settings.public_url.rstrip('/')}/password/{token}")


def _read_secret(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise InvalidInput("a secret is given as NAME=VALUE, or NAME=- to type it unseen")
    return name, typer.prompt(name, hide_input=True) if value == "-" else value


@spools.command("list")
def list_parked(*, folder: FolderOption = None) -> None:
    """List the parts that were set aside: ids, times and faults, never what they hold."""
    from timer_service.spool import received_at

    with _spool(folder) as spool:
        parts, state = spool.parked(), spool.state()
    if parts:
        typer.echo(f"{'id':>8}  {'received':<24}  {'connection':<36}  tries  fault")
    for part in parts:
        received = received_at(part).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fault = part.fault or "unknown"
        typer.echo(
            f"{part.seq:>8}  {received:<24}  {part.connection_id:<36}  {part.tries:>5}  {fault}"
        )
    typer.echo(f"{state.parked} set aside, {state.waiting} waiting")


@spools.command("retry")
def retry_parked(
    part: Annotated[int | None, typer.Argument(help="Its id in the list.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that were set aside.")] = False,
    folder: FolderOption = None,
) -> None:
    """Let web replay a part again, three times at most; its messages count at their receipt."""
    if (part is None) is not every:
        raise InvalidInput("expected the id of one part, or --all")
    with _spool(folder) as spool:
        back = spool.retry(part)
    if part is not None and not back:
        raise NotFound(f"no part {part} was set aside here")
    typer.echo(f"{back} will be replayed")


@spools.command("drop")
def drop_parked(
    part: Annotated[int, typer.Argument(help="Its id in the list.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    folder: FolderOption = None,
) -> None:
    """Delete a part for good: its messages will never be stored."""
    if not yes:
        typer.confirm(f"Delete part {part} with the messages it holds, for good?", abort=True)
    with _spool(folder) as spool:
        if not spool.drop(part):
            raise NotFound(f"no part {part} was set aside here")
    typer.echo(f"{part} is deleted")


@contextmanager
def _spool(folder: Path | None) -> Iterator[Spool]:
    from timer_service.settings import load_settings
    from timer_service.spool import Spool

    where = folder or load_settings().spool_dir
    if where is None:
        raise ConfigurationError("expected TIMER_SPOOL_DIR or --folder, found neither")
    if not Spool.is_in(where):  # it would be made here, perhaps as somebody who is not web
        raise ConfigurationError(f"expected a spool in {where}, found none")
    spool = Spool(where)
    try:
        yield spool
    finally:
        spool.close()
