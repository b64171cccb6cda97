"""What of the suite is kept together where two processes run it."""

from __future__ import annotations

from tests.support.spreading import share_of


def test_the_tests_of_a_file_are_kept_together() -> None:
    (file,) = {
        share_of(f"tests/web/test_web_server.py::{test}")
        for test in ("test_one", "TestAll::test_two", "test_three[a::b]")
    }
    assert file == "tests/web/test_web_server.py"


def test_all_stories_are_told_on_one_deployment() -> None:
    stories = ("tests/acceptance/test_story.py::test_a", "tests/acceptance/test_soak.py::test_b")
    assert len(set(map(share_of, stories))) == 1


def test_another_file_may_go_elsewhere() -> None:
    assert share_of("tests/unit/test_ids.py::test_a") != share_of("tests/unit/test_keys.py::test_a")
