"""The pure parts of `./run bench peers`: what the work is, and how what was done is judged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest

from benchmarks.peers import timers
from benchmarks.peers.timers import STAMPS_FILE, Stamper, Work, calls_per_s, judge, read_stamps
from timer_service.clock import epoch_s

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


class TestWork:
    def test_as_many_are_due_as_an_idle_gap_makes(self) -> None:
        work = Work(live=100_000, gap_s=900, seconds=30)
        assert len(work.due) == 3_333
        assert len(work.later) + len(work.due) == 100_000
        assert set(work.later).isdisjoint(work.due)

    def test_something_is_due_however_short_the_watch(self) -> None:
        assert list(Work(live=10, gap_s=900, seconds=1).due) == [9]

    def test_what_is_due_is_due_while_it_is_watched(self) -> None:
        deadlines = Work(1_000, 100, 10).due_deadlines(5_000.0, Random(1))
        assert len(deadlines) == 100
        assert min(deadlines.values()) >= 5_000
        assert 5_009 < max(deadlines.values()) <= 5_010

    def test_the_others_are_not(self) -> None:
        deadlines = Work(1_000, 100, 10).later_deadlines(6_000.0, Random(1))
        assert min(deadlines.values()) >= 6_000
        assert max(deadlines.values()) > 6_090

    def test_deadlines_are_whole_milliseconds_and_the_same_for_every_engine(self) -> None:
        first, second = (Work(100, 100, 50).due_deadlines(7.0, Random(1)) for _ in range(2))
        assert first == second
        assert all(round(at_s, 3) == at_s for at_s in first.values())


class TestJudging:
    def test_lateness_is_from_the_deadline_in_ms(self) -> None:
        fired = judge({1: 10.0, 2: 20.0}, [(2, 20.25), (1, 10.5)], ended_s=30)
        assert fired.lateness_ms == [500, 250]
        assert (fired.early, fired.missing, fired.twice) == (0, 0, 0)

    def test_one_that_fired_before_its_deadline_is_early(self) -> None:
        fired = judge({1: 10.0, 2: 20.0}, [(1, 9.5), (2, 20.0)], ended_s=30)
        assert fired.early == 1
        assert fired.lateness_ms == [-500, 0]

    def test_one_that_never_fired_is_as_late_as_the_watch_was_long(self) -> None:
        fired = judge({1: 10.0, 2: 20.0}, [(1, 11.0)], ended_s=30)
        assert (fired.missing, fired.lateness_ms) == (1, [1_000, 10_000])

    def test_one_that_fired_twice_counts_by_its_first_time(self) -> None:
        fired = judge({1: 10.0}, [(1, 12.0), (1, 11.0), (1, 13.0)], ended_s=30)
        assert (fired.twice, fired.lateness_ms) == (1, [1_000])

    def test_stamps_of_other_timers_do_not_count(self) -> None:
        fired = judge({1: 10.0}, [(2, 1.0), (2, 2.0), (1, 10.0)], ended_s=30)
        assert (fired.early, fired.missing, fired.twice) == (0, 0, 0)


class TestStamps:
    def test_what_handlers_write_is_read_in_order(self, tmp_path: Path) -> None:
        path = tmp_path / "stamps"
        assert read_stamps(path) == []
        one, other = Stamper(str(path)), Stamper(str(path))
        before_s = epoch_s()
        one.stamp([3, 4])
        other.stamp([5])
        after_s = epoch_s()
        stamps = read_stamps(path)
        assert [number for number, _ in stamps] == [3, 4, 5]
        # µs are cut off, so that no stamp is later than the handler was
        assert all(before_s - 0.000_001 <= at_s <= after_s for _, at_s in stamps)

    def test_a_line_half_written_is_left_for_later(self, tmp_path: Path) -> None:
        path = tmp_path / "stamps"
        path.write_text("1 2000000\n2 30")
        assert read_stamps(path) == [(1, 2.0)]

    def test_the_environment_says_where(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(STAMPS_FILE, str(tmp_path / "stamps"))
        Stamper().stamp([1])
        assert len(read_stamps(tmp_path / "stamps")) == 1


class TestRate:
    def test_batches_go_round_until_the_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            timers, "monotonic_s", iter([100.0, 100.5, 101.0, 101.5, 104.0]).__next__
        )
        told: list[list[int]] = []
        rate = calls_per_s(lambda some: told.append(list(some)), range(5), 2, 2.0)
        assert told == [[0, 1], [2, 3], [4], [0, 1]]
        assert rate == 7 / 4

    def test_one_batch_is_made_in_any_case(self) -> None:
        told: list[int] = []
        calls_per_s(told.extend, [7, 8], 2, 0)
        assert told == [7, 8]


class TestBullmq:
    def test_its_lock_names_no_registry(self) -> None:
        lock = json.loads((PEERS / "bullmq" / "package-lock.json").read_text())
        packages = {name: one for name, one in lock["packages"].items() if name}
        assert packages
        for name, one in packages.items():
            assert "resolved" not in one, name
            assert one["integrity"].startswith("sha512-"), name

    def test_its_packages_are_pinned(self) -> None:
        package = json.loads((PEERS / "bullmq" / "package.json").read_text())
        for version in [*package["dependencies"].values(), *package["overrides"].values()]:
            assert re.fullmatch(r"\d+\.\d+\.\d+", version)
