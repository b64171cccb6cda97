"""The frame of the benchmarks: what it computes, prints, writes, and when it fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks import report as report_module
from benchmarks.report import Report, Spread, percentile


@pytest.fixture
def plots(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Plots that would be drawn: only `./run bench` has what draws them."""
    drawn: list[Path] = []
    monkeypatch.setattr(report_module, "plot", lambda title, samples, path: drawn.append(path))
    return drawn


class TestPercentiles:
    @pytest.mark.parametrize(
        ("rank", "expected"), [(50, 20), (90, 50), (30, 20), (40, 20), (100, 50), (5, 15)]
    )
    def test_they_are_the_nearest_rank(self, rank: float, expected: float) -> None:
        # the worked example of nearest rank: 15, 20, 20, 35, 50 ... by ceil(n * rank / 100)
        assert percentile([15, 20, 20, 35, 50], rank) == expected

    def test_of_a_thousand_values_each_rank_is_its_own_value(self) -> None:
        spread = Spread.of(list(range(1000, 0, -1)))
        assert (spread.p50, spread.p90, spread.p99, spread.p999, spread.max) == (
            500, 900, 990, 999, 1000,
        )  # fmt: skip

    def test_the_highest_ranks_of_few_values_are_the_highest_value(self) -> None:
        assert percentile([1, 2], 99) == 2
        assert percentile([1, 2], 50) == 1

    def test_of_one_value_every_rank_is_that_value(self) -> None:
        assert {percentile([7], rank) for rank in (0, 50, 99.9, 100)} == {7}

    def test_of_nothing_they_are_zero(self) -> None:
        assert Spread.of([]) == Spread(0, 0, 0, 0, 0, 0, 0)

    @given(
        st.lists(st.floats(-1e6, 1e6), min_size=1),
        st.floats(0.1, 100),
    )
    def test_at_least_the_rank_of_all_values_is_at_most_the_percentile(
        self, values: list[float], rank: float
    ) -> None:
        found = percentile(sorted(values), rank)
        assert found in values
        at_most = sum(value <= found for value in values)
        below = sum(value < found for value in values)
        needed = math.ceil(len(values) * rank / 100)
        assert below < needed <= at_most


class TestSpread:
    def test_only_what_is_below_zero_is_early(self) -> None:
        spread = Spread.of([0.0, -0.001, 3.0, -5.0])
        assert (spread.count, spread.early) == (4, 2)


class TestFinishing:
    def test_a_missed_goal_fails_nothing(self, tmp_path: Path, plots: list[Path]) -> None:
        report = Report("x", {})
        report.at_most("p99", 5.0, 3.0, "ms")
        report.at_least("rate", 1.0, 3.0, "/s")
        assert report.finish(tmp_path) == 0

    @pytest.mark.parametrize("broken", ["at_most", "at_least"])
    def test_a_broken_rule_is_exit_code_1(
        self, tmp_path: Path, plots: list[Path], broken: str
    ) -> None:
        report = Report("x", {})
        report.at_most("early", 1 if broken == "at_most" else 0, 0, "timers", rule=True)
        report.at_least("rate", 1 if broken == "at_least" else 2, 2, "/s", rule=True)
        assert report.finish(tmp_path) == 1

    def test_a_figure_that_equals_its_limit_keeps_the_rule(
        self, tmp_path: Path, plots: list[Path]
    ) -> None:
        report = Report("x", {})
        report.at_most("early", 0, 0, "timers", rule=True)
        report.at_least("rate", 2, 2, "/s", rule=True)
        assert report.finish(tmp_path) == 0

    def test_the_json_holds_everything_but_the_samples(
        self, tmp_path: Path, plots: list[Path]
    ) -> None:
        report = Report("lateness", {"live": 10})
        report.spread("row closed", [1.0, 2.0, 3.0, -4.0])
        report.figure("memory", 300.5, "B")
        report.cpu_s = {"redis": 1.5}
        report.table(("engine", "live"), [("ours", "10"), ("theirs", "5")])
        report.note("theirs: on Node")
        report.at_most("p99", 3.0, 5.0, "ms", rule=True)
        folder = tmp_path / "made" / "here"
        assert report.finish(folder) == 0
        found = json.loads((folder / "lateness.json").read_text())
        assert found.pop("at").endswith("+00:00")
        assert set(found.pop("machine")) == {"cores", "system", "python"}
        assert found == {
            "name": "lateness",
            "settings": {"live": 10},
            "spreads_ms": {
                "row closed": {
                    "count": 4, "early": 1,
                    "p50": 1.0, "p90": 3.0, "p99": 3.0, "p999": 3.0, "max": 3.0,
                }
            },
            "figures": {"memory": {"value": 300.5, "unit": "B"}},
            "tables": [[{"engine": "ours", "live": "10"}, {"engine": "theirs", "live": "5"}]],
            "notes": ["theirs: on Node"],
            "cpu_s": {"redis": 1.5},
            "verdicts": [
                {
                    "claim": "p99", "actual": 3.0, "limit": 5.0, "unit": "ms",
                    "met": True, "is_rule": True,
                }
            ],
        }  # fmt: skip
        assert plots == [folder / "lateness.png"]

    def test_without_durations_nothing_is_drawn(self, tmp_path: Path, plots: list[Path]) -> None:
        report = Report("count", {})
        report.figure("one", 1, "B")
        report.finish(tmp_path)
        assert plots == []


class TestPrinting:
    def print(self, report: Report) -> str:
        console = Console(width=120, record=True, quiet=False, file=None, force_terminal=False)
        with console.capture() as captured:
            report._print(console)
        return captured.get()

    def test_each_verdict_says_whether_it_holds(self) -> None:
        report = Report("x", {"live": 5})
        report.at_most("one", 1, 2, "ms", rule=True)
        report.at_most("two", 3, 2, "ms")
        report.at_most("three", 3, 2, "ms", rule=True)
        said = self.print(report)
        assert "reached: one: 1 ms (goal 2)" in said
        assert "missed: two: 3 ms (goal 2)" in said
        assert "BROKEN: three: 3 ms (goal 2)" in said
        assert "x live 5" in said

    def test_durations_not_to_be_listed_are_in_the_json_only(self) -> None:
        report = Report("x", {})
        report.spread("seen", [1.0])
        report.spread("unseen", [2.0], listed=False)
        said = self.print(report)
        assert "seen" in said
        assert "unseen" not in said
        assert set(report.as_dict()["spreads_ms"]) == {"seen", "unseen"}
