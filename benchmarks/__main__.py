"""`./run bench NAME`: one command for each benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Out = Annotated[Path, typer.Option(help="Where the JSON and the plot go.")]
OUT = Path("bench-results")


@app.callback()
def benchmarks() -> None:
    """Measure the timer service on this machine."""


@app.command()
def ingest(
    *,
    seconds: float = 20.0,
    in_flight: Annotated[list[int], typer.Option(help="Repeat for several.")] = [16, 32],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Messages a body; repeat.")] = [1, 20],  # noqa: B006
    businesses: int = 5,
    customers: int = 5_000,
    new_share: float = 0.0,
    rate: Annotated[float | None, typer.Option(help="Webhooks/s; default: closed loop.")] = None,
    workers: Annotated[int, typer.Option(help="RQ workers beside it.")] = 0,
    out: Out = OUT,
) -> None:
    """Signed webhooks over HTTP through the server that `up` uses."""
    from benchmarks.ingest import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(
        seconds=seconds,
        in_flight=tuple(in_flight),
        batches=tuple(batch),
        businesses=businesses,
        customers=customers,
        new_share=new_share,
        rate=rate,
        workers=workers,
    )
    raise typer.Exit(report.finish(out))


@app.command()
def touch(
    *,
    in_flight: Annotated[list[int], typer.Option(help="Threads; repeat.")] = [1, 8, 32],  # noqa: B006
    pipelining: Annotated[list[int], typer.Option(help="Touches a round trip; repeat.")] = [  # noqa: B006
        1,
        16,
        100,
    ],
    rounds: int = 5,
    redis_seconds: Annotated[float, typer.Option(help="0: leave Redis alone out.")] = 0.5,
    intake_seconds: Annotated[int, typer.Option(help="0: leave intake out.")] = 3,
    processes: Annotated[int, typer.Option(help="That take messages in.")] = 1,
    customers: int = 5_000,
    businesses: int = 5,
    out: Out = OUT,
) -> None:
    """What a touch costs in Redis alone and through intake, each beside its floor."""
    from benchmarks.touch import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(
        in_flight=in_flight,
        pipelining=pipelining,
        rounds=rounds,
        redis_seconds=redis_seconds,
        intake_seconds=intake_seconds,
        processes=processes,
        customers=customers,
        businesses=businesses,
    )
    raise typer.Exit(report.finish(out))


@app.command("under-load")
def under_load(
    *,
    live: Annotated[int, typer.Option(help="Live sessions that fall due.")] = 100_000,
    rate: Annotated[list[int], typer.Option(help="Webhooks/s; repeat.")] = [  # noqa: B006
        0,
        500,
        1_000,
    ],
    seconds: Annotated[float, typer.Option(help="At each rate.")] = 30.0,
    customers: int = 5_000,
    businesses: int = 5,
    out: Out = OUT,
) -> None:
    """How late sessions close while webhooks arrive over HTTP."""
    from benchmarks.under_load import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(live=live, rates=rate, seconds=seconds, customers=customers, businesses=businesses)
    raise typer.Exit(report.finish(out))


@app.command()
def lateness(
    *,
    live: Annotated[int, typer.Option(help="Live sessions.")] = 100_000,
    seconds: float = 120,
    gap_s: Annotated[int, typer.Option(help="Idle gap; sets the natural rate.")] = 900,
    businesses: int = 5,
    out: Out = OUT,
) -> None:
    """How late sessions close, at the rate that so many live ones have by nature."""
    from benchmarks.lateness import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(live=live, seconds=seconds, gap_s=gap_s, businesses=businesses)
    raise typer.Exit(report.finish(out))


@app.command()
def burst(
    *,
    live: Annotated[int, typer.Option(help="Sessions that stay live meanwhile.")] = 1_000_000,
    due: Annotated[list[int], typer.Option(help="Due in one millisecond.")] = [  # noqa: B006
        1_000,
        10_000,
        100_000,
    ],
    sustained: Annotated[int, typer.Option(help="Closes/s afterwards; 0: none.")] = 10_000,
    seconds: float = 10,
    businesses: int = 5,
    out: Out = OUT,
) -> None:
    """Many sessions due at once, then as many a second as can be."""
    from benchmarks.burst import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(live=live, due=due, sustained=sustained, seconds=seconds, businesses=businesses)
    raise typer.Exit(report.finish(out))


@app.command()
def count(*, calls: int = 5_000, out: Out = OUT) -> None:
    """The active-chats number, at a thousand to a million live chats."""
    from benchmarks.count import run_count  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run_count(calls=calls).finish(out))


@app.command()
def pages(
    *,
    sessions: int = 1_000_000,
    messages: Annotated[int, typer.Option(help="Of each session.")] = 10,
    rounds: int = 20,
    out: Out = OUT,
) -> None:
    """Each page of the console, at the server, with years of conversations behind it."""
    from benchmarks.pages import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run(sessions=sessions, messages=messages, rounds=rounds).finish(out))


@app.command()
def memory(*, out: Out = OUT) -> None:
    """What a live chat weighs in Redis."""
    from benchmarks.count import run_memory  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run_memory().finish(out))


@app.command()
def rebuild(*, live: int = 1_000_000, businesses: int = 5, out: Out = OUT) -> None:
    """Redis loses everything: how soon all is armed again."""
    from benchmarks.rebuild import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run(live=live, businesses=businesses).finish(out))


@app.command()
def handoff(
    *, jobs: int = 50_000, summaries: int = 300, model_ms: float = 20, out: Out = OUT
) -> None:
    """Closed sessions to RQ jobs, and what a worker adds to the model's own time."""
    from benchmarks.handoff import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run(jobs=jobs, summaries=summaries, model_ms=model_ms).finish(out))


@app.command()
def peers(
    *,
    live: Annotated[int, typer.Option(help="Timers each engine holds.")] = 100_000,
    gap: Annotated[float, typer.Option(help="Idle gap, s: live / gap are due a second.")] = 900.0,
    seconds: Annotated[float, typer.Option(help="How long what falls due is watched.")] = 30.0,
    reset_seconds: Annotated[float, typer.Option(help="How long each way to reset lasts.")] = 3.0,
    engine: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: all.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="What `gate` runs.")] = False,
    out: Out = OUT,
) -> None:
    """The same reset-and-fire work on other engines and on ours, side by side."""
    from benchmarks.peers.compare import ENGINES, run, run_short  # noqa: PLC0415 - as above

    unknown = set(engine or ()) - set(ENGINES)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: not among {', '.join(ENGINES)}")
    if short:
        report = run_short()
    else:
        report = run(
            live=live,
            gap_s=gap,
            seconds=seconds,
            reset_seconds=reset_seconds,
            engines=tuple(engine or ENGINES),
        )
    raise typer.Exit(report.finish(out))


@app.command()
def heal(
    *,
    times: Annotated[int, typer.Option(help="How often each fault strikes.")] = 5,
    live: Annotated[int, typer.Option(help="Sessions that are live meanwhile.")] = 20_000,
    rate: Annotated[int, typer.Option(help="Sessions due a second meanwhile.")] = 100,
    out: Out = OUT,
) -> None:
    """Each fault strikes several times: how soon everything is as it should be again."""
    from benchmarks.heal import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run(times=times, live=live, rate=rate).finish(out))


@app.command()
def flood(
    *,
    seconds: Annotated[float, typer.Option(help="Each part.")] = 10.0,
    times: Annotated[float, typer.Option(help="How many times the capacity.")] = 2.0,
    steady: Annotated[float, typer.Option(help="Sent otherwise, of the capacity.")] = 0.5,
    share_times: Annotated[float, typer.Option(help="One business's flood, in shares.")] = 10.0,
    rounds: Annotated[int, typer.Option(help="How often it floods; the median counts.")] = 3,
    only_fairness: Annotated[bool, typer.Option("--only-fairness", help="That alone.")] = False,
    out: Out = OUT,
) -> None:
    """More webhooks than can be taken, and one business that floods."""
    from benchmarks.flood import run  # noqa: PLC0415 - only what is asked for is loaded

    report = run(
        seconds=seconds,
        times=times,
        steady=steady,
        share_times=share_times,
        rounds=rounds,
        only_fairness=only_fairness,
    )
    raise typer.Exit(report.finish(out))


@app.command()
def soak(
    *,
    minutes: float = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed plans the same.")] = 1,
    sessions: Annotated[float, typer.Option(help="That begin a second.")] = 28.0,
    customers: int = 2_000,
    gap_s: Annotated[int, typer.Option(help="Idle gap, s.")] = 3,
    fault_every: Annotated[float, typer.Option(help="Seconds from fault to fault.")] = 15.0,
    replay: Annotated[Path | None, typer.Option(help="Plan as in this soak.json.")] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Then the same on plain RQ.")
    ] = False,
    out: Out = OUT,
) -> None:
    """Thousands of customers write while faults strike; then a checker judges all of it."""
    from benchmarks.soak.run import plan_of, run  # noqa: PLC0415 - only what is asked for is loaded
    from benchmarks.soak.schedule import Plan  # noqa: PLC0415

    plan = Plan(
        seed=seed,
        seconds=60 * minutes,
        faults=round(60 * minutes / fault_every),
        sessions_per_s=sessions,
        customers=customers,
        gap_s=gap_s,
    )
    report = run(plan_of(replay) if replay else plan, out, with_baseline=baseline)
    raise typer.Exit(report.finish(out))


@app.command()
def gate(*, out: Out = OUT) -> None:
    """Short runs of the others, judged by ratios only; fails where one does not hold."""
    from benchmarks.gate import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run().finish(out))


@app.command()
def guards(
    *,
    name: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: all.")
    ] = None,
) -> None:
    """Take each guard out once: which tests notice. About ten seconds a guard."""
    from benchmarks.guards import run  # noqa: PLC0415 - only what is asked for is loaded

    raise typer.Exit(run(name or ()))


if __name__ == "__main__":
    app(prog_name="./run bench")
