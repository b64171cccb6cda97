"""BullMQ on Node: a delayed job for each timer; a reset is `changeDelay`.

Its packages are installed by `npm ci` where they are asked for first; without Node it is left out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.engine import Engine
from benchmarks.rig import Rig

_FOLDER = Path(__file__).with_name("bullmq")
_SCRIPT = _FOLDER / "timers.mjs"
_INSTALLED = _FOLDER / "node_modules" / ".installed-lock.json"
_OLDEST_NODE = 20
_WITHIN_S = 300


class BullmqTimers(Engine):
    """One worker, fifty jobs at once."""

    label = "BullMQ"
    survives = True
    in_python = False
    note = "changeDelay of jobs at hand, on Node; a batch is so many calls in flight"

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        rig.start(
            "handler",
            ("node", str(_SCRIPT), "work"),
            ready=lambda: "ready" in rig.log_of("handler"),
        )

    def load(self, deadlines: Mapping[int, float]) -> None:
        """Add jobs in bulk."""
        self._ask([(number, round(at_s * 1000)) for number, at_s in deadlines.items()], "load")

    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Change their delays, once each."""
        self.resets_per_s(numbers, in_s, len(numbers), 0)

    def resets_per_s(
        self, numbers: Sequence[int], in_s: float, batch: int, seconds: float
    ) -> float:
        """Reset from Node; a batch is that many calls in flight."""
        words = (str(batch), str(seconds), str(round(in_s * 1000)))
        return float(self._ask(list(numbers), "reset", *words))

    def _ask(self, told: object, *words: str) -> Any:
        done = subprocess.run(
            ["node", str(_SCRIPT), *words],  # noqa: S607 - the user's own Node
            input=json.dumps(told),
            env=self.rig.env,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"node timers.mjs {words[0]}:\n{done.stderr.strip()}")
        return json.loads(done.stdout)


def why_not() -> str | None:
    """Install BullMQ where it is not yet; return why it cannot be had, None where it can."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "Node or npm is not on PATH"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    if int(version.stdout.strip().lstrip("v").partition(".")[0] or 0) < _OLDEST_NODE:
        return f"Node is {version.stdout.strip()}, {_OLDEST_NODE} or later is needed"
    lock = (_FOLDER / "package-lock.json").read_text()
    if _INSTALLED.exists() and _INSTALLED.read_text() == lock:
        return None
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=_FOLDER,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        return f"npm ci failed: {done.stderr.strip()[-500:]}"
    _INSTALLED.write_text(lock)
    return None
