"""Takes each guard out, one at a time, and sees whether a test notices.

Zero faults found proves something only where every guard's absence is found. Works in a copy of
the tree, runs the tests a guard names and nothing else, and fails where all of them stay green,
where they do not run, or where a text is no longer as `guard_list` has it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.guard_list import GUARDS, Guard
from timer_service.clock import monotonic_s

ROOT = Path(__file__).parents[1]
_LEFT_OUT = (".git", ".venv", ".data", "__pycache__", ".*_cache", "bench-results", "node_modules")
_PATIENCE_S = 300
_FAILED = re.compile(r"\b(\d+) failed\b")


class Verdict(StrEnum):
    """What the tests said of a tree without the guard."""

    RED = "red"
    GREEN = "green: nobody noticed"
    NOT_RUN = "did not run"


@dataclass(frozen=True, slots=True)
class Tried:
    """One guard's removal."""

    guard: Guard
    verdict: Verdict
    took_s: float


def run(names: Sequence[str]) -> int:
    """Try the guards of these names, or all; return 0 if each is missed by a test of its own."""
    unknown = set(names) - {guard.name for guard in GUARDS}
    if unknown:
        raise SystemExit(f"no such guard: {', '.join(sorted(unknown))}")
    chosen = [guard for guard in GUARDS if not names or guard.name in names]
    console = Console()
    tried = []
    with tempfile.TemporaryDirectory(prefix="timer-guards-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        everything = {test for guard in chosen for test in guard.tests}
        output = _run_tests(tree, everything, patience_s=_PATIENCE_S * len(chosen))
        if judge(output) is not Verdict.GREEN:
            console.print("with every guard in its place:", output[-2_000:], markup=False)
            return 1
        for number, guard in enumerate(chosen, 1):
            tried.append(_try_without(tree, guard))
            console.print(f"{number}/{len(chosen)} {guard.name}: {tried[-1].verdict}")
    console.print(_table(tried))
    kept = [one for one in tried if one.verdict is not Verdict.RED]
    console.print(f"{len(tried) - len(kept)} of {len(tried)} guards are missed by a test")
    return 1 if kept else 0


def without(guard: Guard, source: str) -> str:
    """Return a file's text without the guard.

    Raises:
        ValueError: a text is not there, or more than once.
    """
    for old, new in guard.changes:
        if source.count(old) != 1:
            raise ValueError(
                f"guard {guard.name}: expected its text once in {guard.file}, found it "
                f"{source.count(old)} times; follow the change in benchmarks/guard_list.py"
            )
        source = source.replace(old, new)
    return source


def find_tests(root: Path, test: str) -> list[str]:
    """Return the pytest ids of ``file::function``, whatever classes it is in; empty for none."""
    file, _, name = test.partition("::")
    path = root / file
    if not path.is_file():
        return []
    found = []
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            found.append(f"{file}::{name}")
        if isinstance(node, ast.ClassDef):
            found += [
                f"{file}::{node.name}::{name}"
                for one in node.body
                if isinstance(one, ast.FunctionDef) and one.name == name
            ]
    return found


def judge(output: str) -> Verdict:
    """Read pytest's last lines: a test that fails is red, an error of its set-up proves nothing."""
    summary = output.strip().rpartition("\n")[2]
    if _FAILED.search(summary):
        return Verdict.RED
    if " passed" in summary and " error" not in summary:
        return Verdict.GREEN
    return Verdict.NOT_RUN


def _try_without(tree: Path, guard: Guard) -> Tried:
    path = tree / guard.file
    source = path.read_text("utf-8")
    began_s = monotonic_s()
    path.write_text(without(guard, source), "utf-8")
    try:
        verdict = judge(_run_tests(tree, guard.tests))
    finally:
        path.write_text(source, "utf-8")
    return Tried(guard, verdict, monotonic_s() - began_s)


def _run_tests(tree: Path, tests: Iterable[str], *, patience_s: float = _PATIENCE_S) -> str:
    ids = sorted({found for test in tests for found in find_tests(tree, test)})
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "http"))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no", *ids]
    try:
        done = subprocess.run(
            words,
            cwd=tree,
            env=environ,
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the tests did not end"
    return done.stdout


def _table(tried: Sequence[Tried]) -> Table:
    table = Table(title="guards, each removed once", show_lines=False)
    for heading in ("guard", "keeps", "removed in", "tests that guard it", "verdict"):
        table.add_column(heading, overflow="fold")
    for one in tried:
        tests = "\n".join(test.partition("::")[2] for test in one.guard.tests)
        verdict = f"{one.verdict}, {one.took_s:.0f} s"
        table.add_row(one.guard.name, one.guard.keeps, one.guard.file, tests, verdict)
    return table
