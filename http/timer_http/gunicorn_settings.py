"""How gunicorn runs the web process; its command line wins over what stands here.

gthread: requests wait for Postgres most of the time, and live pages hold a thread each.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from gunicorn.workers import gthread  # type: ignore[import-untyped]
from prometheus_client import multiprocess

bind = "127.0.0.1:8080"
worker_class = "gthread"
workers = 2  # one per core of the smallest machine we mean to run on; a crash leaves one answering
threads = 16  # as many as connections in a worker's pool: none waits for another's connection
timeout = 30  # a worker that does not even beat for so long is replaced
graceful_timeout = 5  # every request ends within a second; only live pages last longer
keepalive = 15  # seconds; gateways send their next webhook over the same connection

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190

accesslog = None  # a webhook's path may hold its token
errorlog = "-"
loglevel = "warning"


SWITCH_EVERY_S = 0.0005
"""Python's own 5 ms is how long each answer from Postgres would wait for the other threads."""
SILENT_S = 0.05
"""How long a new connection that says nothing may hold a thread; gunicorn's own 5 s would let a few
dozen of them stop everything. After that it is watched without one."""


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001  # gunicorn's signature
    """Let threads take turns quickly, and take them away from who is silent."""
    sys.setswitchinterval(SWITCH_EVERY_S)
    gthread.DEFAULT_WORKER_DATA_TIMEOUT = SILENT_S


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001  # gunicorn's signature
    """Let a dead worker's gauges go; its counters stay in the sum."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
