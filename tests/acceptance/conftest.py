"""Two deployments for all the stories: `up` as a whole, and single processes on servers to hurt.

Each is started with the first story that needs it and ended with the folder's last. A story may
break what it likes: the next one starts when everything is ready again, with a business of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callers import Business, Caller
from tests.support.deployment import Parts, Up
from tests.support.fake_model import FakeModel
from tests.support.servers import PostgresServer

IDLE_GAP_S = 2


@pytest.fixture(scope="package")
def one_up() -> Iterator[Up]:
    """Hold one `timer-service up`; tests take `up`, which is ready."""
    folder = Path(tempfile.mkdtemp(prefix="timer-up-"))
    folder.chmod(0o711)  # for root: its Postgres runs as nobody
    deployment = Up(folder, idle_gap=f"{IDLE_GAP_S}s")
    yield deployment
    deployment.destroy()


@pytest.fixture
def up(one_up: Up) -> Up:
    """Return `timer-service up`, ready."""
    one_up.make_ready()
    return one_up


@pytest.fixture
def caller(up: Up) -> Iterator[Caller]:
    """Speak to `up` as its administrator."""
    caller = Caller(up.base_url, up.printed_admin_key)
    yield caller
    caller.close()


@pytest.fixture
def shop(caller: Caller) -> Business:
    """Return a business in `up` whose conversations end after two seconds."""
    return caller.add_business("Shop", idle_gap_s=IDLE_GAP_S)


@pytest.fixture(scope="package")
def model() -> Iterator[FakeModel]:
    """Serve the summaries of `parts`."""
    with FakeModel() as model:
        yield model


@pytest.fixture(scope="package")
def all_parts(postgres_server: PostgresServer, model: FakeModel) -> Iterator[Parts]:
    """Hold web, listeners and worker as processes of their own; tests take `parts`."""
    parts = Parts(
        Path(tempfile.mkdtemp(prefix="timer-parts-")),
        postgres_server,
        OPENAI_BASE_URL=model.url,
        OPENAI_API_KEY="sk-of-nobody",
    )
    yield parts
    parts.destroy()


@pytest.fixture
def parts(all_parts: Parts) -> Parts:
    """Return the single processes, ready, one listener among them."""
    all_parts.make_ready()
    return all_parts


@pytest.fixture
def parts_caller(parts: Parts) -> Iterator[Caller]:
    """Speak to the single processes as their administrator."""
    caller = Caller(parts.base_url, parts.admin_key)
    yield caller
    caller.close()
