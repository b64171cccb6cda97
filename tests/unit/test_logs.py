"""What cannot be logged ends nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FULL = Path("/dev/full")
SCRIPT = """
    import logging
    import structlog
    from timer_service.logs import set_up_logs

    set_up_logs()
    log = structlog.get_logger("x")
    for _ in range(3):
        log.warning("nobody_reads_this")
        logging.getLogger("rq").warning("nor this")
    try:
        raise ValueError
    except ValueError:
        log.exception("nor_this")
    print("went on", flush=True)
"""


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
def test_a_full_disk_ends_no_duty() -> None:
    with FULL.open("wb") as full:
        assert run(full.fileno()) == "went on\n"


def test_a_closed_pipe_ends_no_duty() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(writer) == "went on\n"
    finally:
        os.close(writer)


def run(stderr: int) -> str:
    argv = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    return subprocess.run(
        argv, stderr=stderr, stdout=subprocess.PIPE, text=True, check=False
    ).stdout
