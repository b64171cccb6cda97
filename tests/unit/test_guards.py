"""The list of guards follows the source: what it would remove is there, and so are its tests."""

from __future__ import annotations

import pytest

from benchmarks.guard_list import GUARDS, Guard
from benchmarks.guards import ROOT, Verdict, find_tests, judge, without


def by_name(guard: Guard) -> str:
    return guard.name


def test_there_are_many_and_no_two_of_a_name() -> None:
    assert len(GUARDS) >= 25
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.parametrize("guard", GUARDS, ids=by_name)
def test_what_it_removes_stands_in_the_source_once(guard: Guard) -> None:
    source = (ROOT / guard.file).read_text("utf-8")
    assert without(guard, source) != source


@pytest.mark.parametrize("guard", GUARDS, ids=by_name)
def test_its_tests_are_there(guard: Guard) -> None:
    assert guard.tests
    assert [one for one in guard.tests if not find_tests(ROOT, one)] == []


def test_a_text_that_is_gone_or_stands_there_twice_is_said() -> None:
    guard = Guard("lock", "order", "a.py", (("with lock:", "if True:"),), ())
    assert without(guard, "with lock:\n    pass\n") == "if True:\n    pass\n"
    for source in ("pass", "with lock:\nwith lock:\n"):
        with pytest.raises(ValueError, match="expected its text once"):
            without(guard, source)


def test_tests_are_found_within_classes_and_outside() -> None:
    here = "tests/unit/test_guards.py"
    assert find_tests(ROOT, f"{here}::test_its_tests_are_there") == [
        f"{here}::test_its_tests_are_there"
    ]
    assert find_tests(ROOT, f"{here}::test_of_nothing") == []
    assert find_tests(ROOT, "tests/unit/no_such.py::test_x") == []
    assert find_tests(
        ROOT, "tests/integration/test_audit.py::test_one_that_is_claimed_is_not_missing"
    )


@pytest.mark.parametrize(
    ("last_line", "verdict"),
    [
        ("3 passed in 1.2s", Verdict.GREEN),
        ("1 failed, 2 passed in 1.2s", Verdict.RED),
        ("1 failed, 1 error in 1.2s", Verdict.RED),
        ("2 passed, 1 error in 1.2s", Verdict.NOT_RUN),
        ("1 error in 1.2s", Verdict.NOT_RUN),
        ("no tests ran in 0.01s", Verdict.NOT_RUN),
        ("the tests did not end", Verdict.NOT_RUN),
        ("", Verdict.NOT_RUN),
    ],
)
def test_only_a_failed_test_is_red(last_line: str, verdict: Verdict) -> None:
    assert judge(f"F.. [100%]\n{last_line}\n") is verdict
