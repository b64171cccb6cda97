"""The plots' geometry."""

from __future__ import annotations

import pytest

from timer_http.console.charts import Bar, bars, steps, top_of


@pytest.mark.parametrize(
    ("values", "top"),
    [([], 2), ([0], 2), ([1, 2], 2), ([3], 5), ([7], 10), ([10], 10), ([11], 20), ([51], 100),
     ([999], 1000), ([1001], 2000)],
)  # fmt: skip
def test_a_plot_ends_at_a_round_number_no_value_exceeds(values: list[int], top: int) -> None:
    assert top_of(values) == top


def test_a_line_keeps_each_value_until_the_next() -> None:
    assert steps([0, 5, 10]) == "M0 100.00H50.00V50.00H100.00V0.00"


@pytest.mark.parametrize("values", [[], [3]])
def test_a_line_needs_two_values(values: list[int]) -> None:
    assert steps(values) == ""


def test_bars_stand_side_by_side_as_high_as_their_values() -> None:
    assert bars([0, 5, 10, 1]) == [
        Bar(3.75, 17.5, 0.0),
        Bar(28.75, 17.5, 50.0),
        Bar(53.75, 17.5, 100.0),
        Bar(78.75, 17.5, 10.0),
    ]
    assert bars([]) == []
