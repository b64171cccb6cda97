"""How the tests are spread over the processes that run them at once: by what they share.

pytest-xdist asks `tests/conftest.py`, which asks this, where `./run test` runs everything. Each
process starts servers of its own, so what shares none may go anywhere.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

ONE_DEPLOYMENT = PurePosixPath("tests/acceptance")
"""All its stories are told on one deployment, which takes seconds to start."""


class ByWhatTheyShare(LoadScopeScheduling):
    """Keeps a file together, whose tests may share servers, and all that share the deployment."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def share_of(nodeid: str) -> str:
    """Name what is kept together, such as ``tests/faults/test_replica.py``."""
    file = PurePosixPath(nodeid.partition("::")[0])
    return str(ONE_DEPLOYMENT if file.is_relative_to(ONE_DEPLOYMENT) else file)
