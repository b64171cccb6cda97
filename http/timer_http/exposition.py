"""``/metrics``: what the processes counted, and what is active and waiting now, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterator

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from timer_http.context import current_services
from timer_service.clock import utc_now
from timer_service.errors import DatabaseUnavailable, RedisUnavailable
from timer_service.records.punctuality import LATEST
from timer_service.spool import SpoolFull
from timer_service.wiring import WebServices

blueprint = APIBlueprint(
    "exposition", __name__, abp_tags=[Tag(name="Operation", description="For whoever runs this.")]
)


@blueprint.get(
    "/metrics", responses={200: {"description": "Metrics", "content": {"text/plain": {}}}}
)
def metrics() -> Response:
    """Write every metric. What cannot be told now is left out, never guessed."""
    now = CollectorRegistry()
    now.register(_Now(current_services()))
    body = generate_latest(_counted()) + generate_latest(now)
    return Response(body, content_type=CONTENT_TYPE_LATEST)


def _counted() -> CollectorRegistry:
    # The variable is prometheus_client's own: with it, all processes' counts are added up.
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


class _Now(Collector):
    """What is true at the instant of the scrape."""

    def __init__(self, services: WebServices) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask Redis and Postgres; a part that cannot be had is absent."""
        yield from self._punctuality()
        yield from self._connections()
        yield from self._spool()
        try:
            active = self._services.live_chats.count_all()
        except RedisUnavailable:
            active = None
        if active is not None:
            yield GaugeMetricFamily("timer_active_chats", "Active chats of all.", value=active)
        try:
            depths = self._services.jobs.depths()
            ages_s = self._services.jobs.oldest_ages_s()
        except RedisUnavailable:
            return
        waiting = GaugeMetricFamily("timer_jobs_waiting", "Jobs that wait.", labels=["queue"])
        for queue, depth in depths.items():
            waiting.add_metric([queue], depth)
        yield waiting
        oldest = GaugeMetricFamily(
            "timer_jobs_oldest_age_seconds",
            "How long the job that is next has waited.",
            labels=["queue"],
        )
        for queue, age_s in ages_s.items():
            oldest.add_metric([queue], age_s)
        yield oldest

    def _punctuality(self) -> Iterator[GaugeMetricFamily]:
        try:
            latest = self._services.service.punctuality()
        except DatabaseUnavailable:
            return
        if latest is None:
            return
        lateness = GaugeMetricFamily(
            "timer_recent_close_lateness_seconds",
            f"From deadline to close in Postgres, of the latest {LATEST} closes.",
            labels=["quantile"],
        )
        for quantile, late_ms in (
            ("0.5", latest.p50_ms),
            ("0.99", latest.p99_ms),
            ("1", latest.max_ms),
        ):
            lateness.add_metric([quantile], late_ms / 1000)
        yield lateness
        yield GaugeMetricFamily(
            "timer_recent_closes_early",
            f"How many of the latest {LATEST} closes came before their deadline: always 0.",
            value=latest.early,
        )

    def _connections(self) -> Iterator[GaugeMetricFamily]:
        try:
            counts = self._services.administration.connections_by_status()
        except DatabaseUnavailable:
            return
        found = GaugeMetricFamily(
            "timer_connections",
            "Connections by how they are, and why.",
            labels=["provider", "status", "reason"],
        )
        for provider, status, reason, many in counts:
            found.add_metric([provider, status, reason], many)
        yield found

    def _spool(self) -> Iterator[GaugeMetricFamily]:
        """This host's: each host is scraped for its own."""
        if self._services.spool is None:
            return
        try:
            state = self._services.spool.state()
        except SpoolFull:
            return
        waits_s = (utc_now() - state.oldest_at).total_seconds() if state.oldest_at else 0.0
        for name, text, value in (
            (
                "waiting",
                "Parts of webhooks that wait on this host's disk for Postgres.",
                state.waiting,
            ),
            ("parked_now", "Parts that could not be stored and were set aside.", state.parked),
            ("oldest_age_seconds", "How long the oldest of them has waited.", waits_s),
            ("used_bytes", "How much room they take.", state.used_bytes),
        ):
            yield GaugeMetricFamily(f"timer_spool_{name}", text, value=value)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Say nothing at registration, so that registering asks nobody."""
        return iter(())
