"""The world most integration tests live in; see `tests.support.builders`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.builders import World


@pytest.fixture
def world(database_url: str, redis_url: str) -> Iterator[World]:
    """Give a business with one connection, and a Redis that can be trusted."""
    with World(database_url, redis_url) as world:
        world.trust()
        yield world
