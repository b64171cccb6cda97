"""``/healthz``: the process answers. ``/readyz``: what it depends on does too.

Postgres away or behind is not ready: 503. Redis away is ready and degraded: messages are accepted
and counted by Postgres. A schema newer than this program is a deployment going on.
"""

from __future__ import annotations

from functools import lru_cache

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from pydantic import BaseModel

from timer_http.answers import json_answer
from timer_http.api.blueprint import problem
from timer_http.context import current_services
from timer_http.problems import FieldError, Problem, problem_response
from timer_service.errors import DatabaseUnavailable, RedisUnavailable
from timer_service.migrate import known_revisions
from timer_service.records.schema_version import read_revision

blueprint = APIBlueprint(
    "health", __name__, abp_tags=[Tag(name="Operation", description="For whoever runs this.")]
)


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Ready(BaseModel):
    """``degraded`` names what is away and can be done without."""

    status: str
    degraded: list[str]


@blueprint.get("/healthz", responses={200: Alive})
def healthz() -> Response:
    """Tell that the process is alive; asks nobody."""
    return json_answer(Alive())


@blueprint.get("/readyz", responses={200: Ready, 503: problem("Postgres is away or behind")})
def readyz() -> Response:
    """Tell whether what the service depends on is usable."""
    degraded: list[str] = []
    wrong = _database_fault(degraded)
    if wrong is not None:
        return problem_response(
            Problem(title="Service Unavailable", status=503, detail="not ready", errors=[wrong])
        )
    services = current_services()
    try:
        services.live_chats.run_id()
    except RedisUnavailable:
        degraded.append("redis")
    try:
        services.jobs.depths()
    except RedisUnavailable:
        degraded.append("queue_redis")
    return json_answer(Ready(status="degraded" if degraded else "ready", degraded=degraded))


def _database_fault(degraded: list[str]) -> FieldError | None:
    try:
        with current_services().database.transaction() as db:
            revision = read_revision(db)
    except DatabaseUnavailable:
        return FieldError(field="postgres", message="does not answer")
    waits_for = current_services().installation.waits_for
    if waits_for is not None:
        return FieldError(field="installation", message=waits_for)
    newest, *older = _known_revisions()
    if revision is None or revision in older:
        return FieldError(field="migrations", message="run timer-service migrate")
    if revision != newest:
        degraded.append("schema_is_newer")
    return None


@lru_cache(maxsize=1)
def _known_revisions() -> list[str]:
    return known_revisions()
