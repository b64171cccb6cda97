"""The embedded Postgres takes memory by what the machine, or its container, has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timer_service.embedded.memory import postgres_buffers_mb


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    return tmp_path / "memory.max"


@pytest.mark.parametrize(
    ("memory_gb", "buffers_mb"), [(1, 128), (2, 128), (4, 256), (16, 1024), (64, 1024)]
)
def test_a_sixteenth_of_the_memory_within_bounds(
    limit: Path, monkeypatch: pytest.MonkeyPatch, memory_gb: int, buffers_mb: int
) -> None:
    sizes = {"SC_PHYS_PAGES": memory_gb * 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert postgres_buffers_mb(limit) == buffers_mb
    limit.write_text("max\n")
    assert postgres_buffers_mb(limit) == buffers_mb


def test_a_containers_limit_counts_where_it_is_lower(
    limit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"SC_PHYS_PAGES": 64 * 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    limit.write_text(f"{8 * 2**30}\n")
    assert postgres_buffers_mb(limit) == 512
    limit.write_text(f"{2**40}\n")
    assert postgres_buffers_mb(limit) == 1024
