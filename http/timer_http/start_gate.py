"""Keeps a web worker closed until its installation is as it must be.

A machine that starts anew may have its web process up before Postgres. It answers then: it is
alive, it is not ready, and everything else is 503 and brought again. Called by `wsgi`.
"""

from __future__ import annotations

import sys
from threading import Event, Thread

import structlog
from flask import Flask, request

from timer_http.context import services_of
from timer_service.errors import ConfigurationError, DatabaseUnavailable
from timer_service.installation import LOOK_EVERY_S, Installation

log = structlog.get_logger(__name__)

_OPEN_TO_ALL = {"/healthz", "/readyz", "/metrics"}


def open_when_installed(app: Flask) -> None:
    """Look at the installation at once, and again until nothing is missing; refuse till then."""
    installation = services_of(app).installation
    app.before_request(lambda: _refuse(installation))
    if not _is_complete(installation):
        Thread(target=_look, args=(installation, Event()), name="start-gate", daemon=True).start()


def _refuse(installation: Installation) -> None:
    if installation.waits_for is not None and request.path not in _OPEN_TO_ALL:
        raise DatabaseUnavailable("this process still waits for Postgres and its schema")


def _look(installation: Installation, stop: Event) -> None:
    while not stop.wait(LOOK_EVERY_S):
        if _is_complete(installation):
            log.info("serving")
            return


def _is_complete(installation: Installation) -> bool:
    try:
        key = installation.check_once()
    except ConfigurationError as error:
        log.error("installation_does_not_fit", cause=str(error))  # noqa: TRY400 - it says all
        return False
    except Exception:
        # Whatever it was, the next look may find it mended.
        installation.waits_for = "the installation could not be looked at: see the log"
        log.exception("installation_not_looked_at")
        return False
    if key is not None:
        sys.stdout.write(f"Admin key (shown this once): {key}\n")
        sys.stdout.flush()
    return installation.waits_for is None
