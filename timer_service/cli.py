"""The `timer-service` command. Each word reads its settings, builds what it needs and runs it.

Heavy imports wait inside the commands, so that every start is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from timer_service import cli_admin
from timer_service.durations import parse_duration_s
from timer_service.errors import ConfigurationError, TimerServiceError

app = typer.Typer(
    name="timer-service",
    help="Knows, to the millisecond and exactly once, when a WhatsApp conversation is over.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(cli_admin.businesses, name="business")
app.add_typer(cli_admin.keys, name="key")
app.add_typer(cli_admin.connections, name="connection")
app.add_typer(cli_admin.users, name="user")
app.add_typer(cli_admin.spools, name="spool")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)]
Data = Annotated[Path, typer.Option(help="Folder that keeps everything.")]
DEFAULT_DATA = Path(".data")
DEMO_GAP_S = 20


def main() -> None:
    """Run the command; an error of ours is one line, not a traceback."""
    try:
        app()
    except (ConfigurationError, TimerServiceError) as error:
        typer.echo(f"timer-service: {error}", err=True)
        sys.exit(1)


@app.command()
def up(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    data: Data = DEFAULT_DATA,
    idle_gap: Annotated[
        str | None, typer.Option(help="Silence that ends a session, such as 15m.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Keep demo conversations going.")] = False,
) -> None:
    """Run everything on this machine until Ctrl-C."""
    from timer_service.embedded import DataDirectory
    from timer_service.settings import load_settings
    from timer_service.supervisor import Step, Supervisor
    from timer_service.up import plan_deployment, with_demo

    gap_s = parse_duration_s(idle_gap) if idle_gap else None
    load_settings()
    with DataDirectory(data, tell=typer.echo) as folder:
        deployment = plan_deployment(folder, os.environ, host=host, port=port, idle_gap_s=gap_s)
        deployment.plan.append(
            Step("greet", lambda: _greet(deployment.base_url, deployment.admin_key))
        )
        if demo:
            deployment = with_demo(deployment, gap_s or DEMO_GAP_S)
        code = Supervisor(deployment.plan, log_dir=folder.logs, run_dir=folder.run).run()
    raise typer.Exit(code)


def _greet(base_url: str, admin_key: str) -> None:
    typer.echo(
        f"\n  Console    {base_url}/\n"
        f"  API        {base_url}/docs\n"
        f"  Admin key  {admin_key}\n\n"
        "Ctrl-C stops everything; nothing is lost.\n"
    )


@app.command()
def demo(
    speed: Annotated[float, typer.Option(help="How much faster than life.", min=0.1)] = 1.0,
    conversation: Annotated[
        Path | None,
        typer.Option(help="A conversation of your own: JSON, or a WhatsApp export (.txt)."),
    ] = None,
    idle_gap: Annotated[str, typer.Option(help="Silence that ends a session.")] = "4s",
) -> None:
    """Run the main job once, start to finish, and leave nothing behind."""
    import tempfile

    from rich.console import Console

    from timer_service.demo.conversations import read_conversations
    from timer_service.demo.story import tell_story
    from timer_service.embedded import DataDirectory
    from timer_service.embedded.server import choose_port
    from timer_service.supervisor import Supervisor
    from timer_service.up import plan_deployment

    gap_s = parse_duration_s(idle_gap)
    console = Console()
    if conversation is not None:
        read_conversations(conversation)  # a file that cannot be read is told before all else
    # A demo is a world of its own: it touches no real deployment and spends nobody's money.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TIMER_")}
    environ["TIMER_SUMMARIZER"] = "extractive"
    with (
        tempfile.TemporaryDirectory(prefix="timer-service-demo-") as folder,
        DataDirectory(_enterable(Path(folder)) / "data") as data,
    ):
        deployment = plan_deployment(
            data, environ, host="127.0.0.1", port=choose_port(None), idle_gap_s=gap_s
        )
        supervisor = Supervisor(deployment.plan, log_dir=data.logs, run_dir=data.run)
        code = supervisor.run(
            lambda: tell_story(
                deployment.base_url,
                deployment.admin_key,
                speed=speed,
                conversation=conversation,
                idle_gap_s=gap_s,
                console=console,
            )
        )
    raise typer.Exit(code)


def _enterable(folder: Path) -> Path:
    """Let root's Postgres, which runs as nobody, pass through to what is its own."""
    folder.chmod(0o711)
    return folder


@app.command("demo-traffic", hidden=True)
def demo_traffic(
    url: Annotated[str, typer.Option(help="Where the web process answers.")],
    idle_gap: Annotated[str, typer.Option(help="Silence that ends a session.")],
) -> None:
    """Keep demo conversations going; a process of `up --demo`."""
    from timer_service.demo.traffic import keep_talking
    from timer_service.logs import set_up_logs
    from timer_service.processes import stop_on_signals
    from timer_service.settings import load_settings

    set_up_logs()
    settings = load_settings()
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else ""
    keep_talking(url, admin_key, idle_gap_s=parse_duration_s(idle_gap), stop=stop_on_signals())


@app.command()
def web(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    descriptor: Annotated[
        int | None, typer.Option("--fd", help="Serve on this inherited socket.", hidden=True)
    ] = None,
) -> None:
    """Run the web process: webhooks, API, console. SIGHUP replaces its workers one by one."""
    from timer_service.logs import set_up_logs
    from timer_service.processes import prepare_web, run_web
    from timer_service.settings import load_settings

    set_up_logs()
    key = prepare_web(load_settings())
    if key is not None:
        typer.echo(f"Admin key (shown this once): {key}")
    run_web(host=host, port=port, descriptor=descriptor)


@app.command()
def listen() -> None:
    """Run the expiry listener and the sweep; any number of these may run."""
    from timer_service.logs import set_up_logs
    from timer_service.processes import run_listener
    from timer_service.settings import load_settings

    set_up_logs()
    run_listener(load_settings())


@app.command()
def work(
    workers: Annotated[int, typer.Option(help="How many summaries at once.", min=1)] = 1,
    queue: Annotated[
        str | None, typer.Option(help="Run one worker, on this queue only.", hidden=True)
    ] = None,
) -> None:
    """Run the RQ workers: summaries, and beside them callbacks and the sending of messages."""
    from timer_service.job_queue import CALLBACKS_QUEUE, SENDS_QUEUE, SUMMARIES_QUEUE
    from timer_service.logs import set_up_logs
    from timer_service.processes import run_worker
    from timer_service.settings import load_settings
    from timer_service.supervisor import Supervisor
    from timer_service.up import plan_workers

    set_up_logs()
    settings = load_settings()
    if queue is not None:
        run_worker(settings, queue)
        return
    plan = plan_workers({SUMMARIES_QUEUE: workers, CALLBACKS_QUEUE: 1, SENDS_QUEUE: 1}, os.environ)
    raise typer.Exit(Supervisor(plan).run())


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from timer_service.migrate import migrate as bring_to_head
    from timer_service.settings import load_settings

    bring_to_head(load_settings().require_database_url())
    typer.echo("The schema is the newest.")


@app.command()
def doctor() -> None:
    """Check settings, Redis, Postgres, migrations and the model, and say what to do."""
    from rich.console import Console

    from timer_service.doctor import examine
    from timer_service.settings import load_settings

    raise typer.Exit(examine(load_settings(), Console()))


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A WhatsApp export (.txt).")],
    idle_gap: Annotated[str, typer.Option(help="Silence that ends a session.")] = "15m",
    plot: Annotated[Path | None, typer.Option(help="Also draw it into this SVG file.")] = None,
) -> None:
    """Show how an exported chat splits into sessions; needs no server."""
    from rich.console import Console

    from timer_service.replay import show_replay

    raise typer.Exit(show_replay(file, parse_duration_s(idle_gap), plot, Console()))
