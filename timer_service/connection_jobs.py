"""RQ entry points around connections: bring contacts in, ask a silent gateway. Ids in, rows out.

Both may run twice: a page of contacts is taken up by compare-and-set, and asking changes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

import structlog

from timer_service.connection_control import ConnectionControl
from timer_service.contacts_pull import ContactsPuller
from timer_service.errors import DatabaseUnavailable, GatewaysBusy
from timer_service.ids import ConnectionId
from timer_service.wiring import build_control, build_puller, job_services

log = structlog.get_logger(__name__)


@lru_cache(maxsize=1)
def _control() -> ConnectionControl:
    return build_control(job_services())


@lru_cache(maxsize=1)
def _puller() -> ContactsPuller:
    return build_puller(job_services(), _control())


def pull_contacts(connection_id: str, attempt: int) -> None:
    """Bring in one page of contacts; called by RQ."""
    try:
        _puller().pull_page(ConnectionId(UUID(connection_id)), attempt)
    except DatabaseUnavailable as error:
        # Returned from, not raised: the queue then tells the sweep that no worker died of it.
        log.warning("pull_without_postgres", connection_id=connection_id, cause=str(error))


def ask_gateway(connection_id: str) -> None:
    """Ask how a connection is; called by RQ. What is not asked now is asked some minutes later."""
    try:
        _control().ask(ConnectionId(UUID(connection_id)))
    except (DatabaseUnavailable, GatewaysBusy) as error:
        log.warning("gateway_not_asked", connection_id=connection_id, cause=type(error).__name__)
