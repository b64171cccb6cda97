"""Every Prometheus metric of the service, by name, in one place.

Each duty counts its own; `/metrics` and the processes' exporters read them. With
``PROMETHEUS_MULTIPROC_DIR`` set prometheus_client adds the processes up, which is why there are
no gauges here: what is active now is read from Redis, not remembered.
"""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_LATENESS_BUCKETS_S = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)

MESSAGES = Counter("timer_messages", "Messages recorded, repeats included.", ["direction"])
WEBHOOKS = Counter("timer_webhooks", "Webhooks answered.", ["provider", "result"])
WEBHOOKS_SHED = Counter(
    "timer_webhooks_shed",
    "Webhooks, and what programs record, refused because too many came at once.",
)
SKIPPED_ITEMS = Counter(
    "timer_webhook_items_skipped",
    "Items of authentic webhooks that did nothing, by why: foreign, gone, or a parser's reason.",
    ["provider", "reason"],
)
SESSIONS_CLOSED = Counter("timer_sessions_closed", "Sessions closed.", ["reason"])
LISTS_READ = Counter(
    "timer_lists_read",
    "Lists of the console where a replica is set: read from it, or why from the primary.",
    ["source"],
)
SESSIONS_ERASED = Counter(
    "timer_sessions_erased", "Sessions deleted for good: of erased businesses, or kept long enough."
)
SUMMARIES = Counter("timer_summaries", "Summary jobs finished.", ["outcome"])
JOBS_PARKED = Counter(
    "timer_jobs_parked", "Jobs given up because worker after worker died over them.", ["queue"]
)

CLAIMS = Counter(
    "timer_claims",
    "Claims by outcome: won, lost, alive, restored by an expired event; "
    "taken_over and lent_again by the pacer.",
    ["outcome"],
)
CLAIMS_DROPPED = Counter(
    "timer_claims_dropped", "Claimed sessions the full closing queue left to their lease."
)
CLOSE_BATCHES_FAILED = Counter(
    "timer_close_batches_failed", "Batches of claimed sessions that could not be closed."
)
CLOSE_LATENESS = Histogram(
    "timer_close_lateness_seconds",
    "From a session's deadline to its close in Postgres.",
    buckets=_LATENESS_BUCKETS_S,
)
EVENT_LATENESS = Histogram(
    "timer_event_lateness_seconds",
    "From a session's deadline to the claim its expired event won, by Redis's clock.",
    buckets=_LATENESS_BUCKETS_S,
)
SWEEP_REPAIRS = Counter("timer_sweep_repairs", "What the sweep found and put right.", ["pass"])
PUBSUB_RESUBSCRIBED = Counter(
    "timer_pubsub_resubscribed", "Times the subscription was made anew; events may be lost."
)
UNTRUSTED_EPOCH = Counter(
    "timer_untrusted_epoch", "Times the pacer met a shard that must be rebuilt, reported once a s."
)
PACER_ERRORS = Counter("timer_pacer_errors", "Pacer calls that failed.")
LISTENER_ERRORS = Counter("timer_listener_errors", "Passes of the listener that failed.", ["loop"])
CLOCK_STEPS = Counter(
    "timer_clock_steps", "Times nothing was closed because Postgres's clock had stepped."
)

SENDS = Counter(
    "timer_sends",
    "Messages the gateways were asked to take: accepted, refused, tried_again or unknown.",
    ["provider", "outcome"],
)
MEDIA_FETCHES = Counter(
    "timer_media_fetches",
    "Files gateways were asked for: fetched, or why not.",
    ["provider", "outcome"],
)

SPOOLED = Counter(
    "timer_spooled", "Webhooks' parts kept on this host's disk because Postgres was away."
)
SPOOL_REFUSED = Counter(
    "timer_spool_refused", "Parts that could not even be kept there: answered 503."
)
SPOOL_REPLAYED = Counter("timer_spool_replayed", "Parts stored from the spool afterwards.")
SPOOL_PARKED = Counter("timer_spool_parked", "Parts that could not be stored and were set aside.")
