"""What a benchmark found: one table for people, JSON for programs, a plot for both.

A goal that is missed is said, and fails nothing: machines differ. What must hold on every machine
(nothing early, lost or twice; the ratios of `gate`) is a rule, and a broken one fails the run.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from timer_service.clock import utc_now

_LOG_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Spread:
    """How a set of durations is spread, all in ms. ``early``: how many are below zero."""

    count: int
    early: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> Spread:
        """Summarise durations; an empty set is all zeros."""
        ordered = sorted(values_ms)
        return cls(
            count=len(ordered),
            early=sum(value < 0 for value in ordered),
            p50=percentile(ordered, 50),
            p90=percentile(ordered, 90),
            p99=percentile(ordered, 99),
            p999=percentile(ordered, 99.9),
            max=ordered[-1] if ordered else 0.0,
        )


def percentile(ordered: Sequence[float], rank: float) -> float:
    """Return the nearest-rank percentile of values in ascending order."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal or rule: ``actual`` against ``limit``, reached if ``met``."""

    claim: str
    actual: float
    limit: float
    unit: str
    met: bool
    is_rule: bool


@dataclass
class Report:
    """The findings of one benchmark."""

    name: str
    settings: dict[str, Any]
    spreads: dict[str, Spread] = field(default_factory=dict)
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    _samples: dict[str, list[float]] = field(default_factory=dict)
    _unlisted: set[str] = field(default_factory=set)

    def spread(self, label: str, values_ms: Sequence[float], *, listed: bool = True) -> Spread:
        """Add a row to the table: durations in ms. Not ``listed``: JSON and plot only."""
        self._samples[label] = sorted(values_ms)
        self.spreads[label] = Spread.of(values_ms)
        if not listed:
            self._unlisted.add(label)
        return self.spreads[label]

    def table(self, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Add a table of its own: the first column names, the others are figures or words."""
        self.tables.append((columns, rows))

    def note(self, line: str) -> None:
        """Add a line below the tables."""
        self.notes.append(line)

    def figure(self, label: str, value: float, unit: str) -> float:
        """Add a single figure."""
        self.figures[label] = (value, unit)
        return value

    def at_most(
        self, claim: str, actual: float, limit: float, unit: str, *, rule: bool = False
    ) -> None:
        """Judge a figure that is good when it is small."""
        self.verdicts.append(Verdict(claim, actual, limit, unit, actual <= limit, rule))

    def at_least(
        self, claim: str, actual: float, limit: float, unit: str, *, rule: bool = False
    ) -> None:
        """Judge a figure that is good when it is large."""
        self.verdicts.append(Verdict(claim, actual, limit, unit, actual >= limit, rule))

    def finish(self, folder: Path) -> int:
        """Print, write ``<name>.json`` and ``<name>.png``; return 1 where a rule is broken."""
        folder.mkdir(parents=True, exist_ok=True)
        console = Console()
        self._print(console if console.is_terminal else Console(width=_LOG_WIDTH))
        (folder / f"{self.name}.json").write_text(json.dumps(self.as_dict(), indent=2) + "\n")
        if self._samples:
            plot(self.name, self._samples, folder / f"{self.name}.png")
        return 0 if all(one.met for one in self.verdicts if one.is_rule) else 1

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the samples."""
        return {
            "name": self.name,
            "at": utc_now().isoformat(timespec="seconds"),
            "machine": {
                "cores": os.cpu_count(),
                "system": platform.system(),
                "python": platform.python_version(),
            },
            "settings": self.settings,
            "spreads_ms": {label: asdict(one) for label, one in self.spreads.items()},
            "figures": {
                label: {"value": value, "unit": unit}
                for label, (value, unit) in self.figures.items()
            },
            "tables": [
                [dict(zip(names, row, strict=True)) for row in rows] for names, rows in self.tables
            ],
            "notes": self.notes,
            "cpu_s": self.cpu_s,
            "verdicts": [asdict(one) for one in self.verdicts],
        }

    def _print(self, console: Console) -> None:
        console.print()
        self._print_figures(console)
        self._print_verdicts(console)

    def _print_figures(self, console: Console) -> None:
        told = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        console.print(f"[bold]{self.name}[/bold] {told}")
        listed = {k: one for k, one in self.spreads.items() if k not in self._unlisted}
        if listed:
            table = Table("ms", "count", "early", "p50", "p90", "p99", "p99.9", "max")
            for column in table.columns[1:]:
                column.justify = "right"
            for label, one in listed.items():
                ranks = (one.p50, one.p90, one.p99, one.p999, one.max)
                table.add_row(label, str(one.count), str(one.early), *(f"{ms:.2f}" for ms in ranks))
            console.print(table)
        for names, rows in self.tables:
            grid = Table(*names)
            grid.columns[0].no_wrap = True
            for column in grid.columns[1:]:
                column.justify = "right"
            for row in rows:
                grid.add_row(*row)
            console.print(grid)
        for line in self.notes:
            console.print(line)
        for label, (value, unit) in self.figures.items():
            console.print(f"{label}: {value:,.6g} {unit}")
        if self.cpu_s:
            console.print(
                "CPU: " + ", ".join(f"{name} {spent:.1f} s" for name, spent in self.cpu_s.items())
            )

    def _print_verdicts(self, console: Console) -> None:
        for judged in self.verdicts:
            word = "reached" if judged.met else ("BROKEN" if judged.is_rule else "missed")
            console.print(
                f"{word}: {judged.claim}: {judged.actual:,.4g} {judged.unit} "
                f"(goal {judged.limit:,g})"
            )


def plot(title: str, samples: dict[str, list[float]], path: Path) -> None:
    """Draw each set as the share that took longer than so many ms, both axes logarithmic."""
    import matplotlib as mpl  # noqa: PLC0415 - only benchmarks have it, and it is slow to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for label, ordered in samples.items():
        if ordered:
            shares = [1 - rank / len(ordered) for rank in range(len(ordered))]
            axes.step([max(value, 0.01) for value in ordered], shares, where="post", label=label)
    axes.set(xscale="log", yscale="log", xlabel="ms", ylabel="share that took longer", title=title)
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
