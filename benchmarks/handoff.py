"""How fast closed sessions become RQ jobs, and what a worker adds to the model's own time.

The second part runs a real worker against a model that takes a fixed time for its answer.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import psycopg

from benchmarks.report import Report
from benchmarks.rig import Rig, wait_until
from benchmarks.seeding import Due, seed
from timer_service.clock import epoch_s, monotonic_s
from timer_service.closing_queue import BATCH_MAX
from timer_service.embedded.server import HOST, choose_port
from timer_service.ids import BusinessId, SessionId, new_id
from timer_service.job_queue import SUMMARIES_QUEUE, JobQueue, SummaryJob
from timer_service.keys import Member
from timer_service.redis_clients import queue_client
from timer_service.settings import load_settings
from timer_service.summarizers.base import SummaryContent
from timer_service.wiring import build_background

_WARM_UP = 20
MESSAGES = """
    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, text, received_at, placed_at)
    SELECT gen_random_uuid(), s.business_id, s.connection_id, s.id, s.id || '.' || said.place,
      said.direction, said.author, 'text', said.text, s.last_touch_at, s.last_touch_at
    FROM sessions s CROSS JOIN (VALUES
      (1, 'in', 'customer', 'Do you have the leather sandals in size 38?'),
      (2, 'out', 'agent', 'Yes, the last pair. Shall I set it aside for you?'),
      (3, 'in', 'customer', 'Please do, I will come by tomorrow after work.'),
      (4, 'out', 'agent', 'Done. We are open until seven.')
    ) said (place, direction, author, text)
"""


def run(*, jobs: int = 50_000, summaries: int = 300, model_ms: float = 20) -> Report:
    """Measure the hand-off alone, then so many summaries by one worker for each summarizer."""
    report = Report(
        "handoff", {"jobs": jobs, "summaries": summaries, "model_ms": model_ms, "workers": 1}
    )
    with Rig() as rig:
        rate = report.figure("handed to RQ", _enqueue_per_s(rig, jobs), "/s")
    report.at_least("handed to RQ", rate, 10_000, "/s")
    port = choose_port(None)
    for name, env, models_own_ms in (
        ("extractive", {"TIMER_SUMMARIZER": "extractive"}, 0.0),
        (
            "model",
            {
                "TIMER_SUMMARIZER": "openai",
                "OPENAI_API_KEY": "bench",
                "OPENAI_BASE_URL": f"http://{HOST}:{port}/v1",
            },
            model_ms,
        ),
    ):
        with Rig() as rig:
            rig.env.update(env)
            rig.start(
                "model", (sys.executable, "-m", "benchmarks.handoff", str(port), f"{model_ms}")
            )
            each_ms = _summary_ms(rig, report, summaries)
        report.figure(f"{name}: each summary", each_ms, "ms")
        added_ms = each_ms - models_own_ms
        report.at_most(f"{name}: added by the worker", added_ms, 10, "ms")
    return report


def _enqueue_per_s(rig: Rig, jobs: int) -> float:
    wanted = [SummaryJob(SessionId(new_id()), 1) for _ in range(jobs)]
    with queue_client(rig.queue_url) as client:
        queue = JobQueue(client)
        queue.enqueue(wanted[:1])
        began_s = monotonic_s()
        for first in range(1, jobs, BATCH_MAX):
            queue.enqueue(wanted[first : first + BATCH_MAX])
        took_s = monotonic_s() - began_s
        if queue.depths()[SUMMARIES_QUEUE] != jobs:
            raise RuntimeError("not every job is in its queue")
    return jobs / took_s


def _summary_ms(rig: Rig, report: Report, summaries: int) -> float:
    """Return the mean time from one summary's commit to the next one's, by one worker."""
    seed(rig.database_url, [Due(summaries + _WARM_UP, epoch_s() - 1)], businesses=1)
    with psycopg.connect(rig.database_url, autocommit=True) as db:
        db.execute(MESSAGES)
        found = db.execute("SELECT business_id, id FROM sessions ORDER BY id").fetchall()
        members = [Member(BusinessId(shop), SessionId(session)) for shop, session in found]
        rig.start_service("work", "work", "--queue", SUMMARIES_QUEUE)
        closer = build_background(
            load_settings(database_url=rig.database_url, redis_url=rig.redis_url)
        ).closer

        def summarised() -> int:
            row = db.execute("SELECT count(*) FROM summaries").fetchone()
            return int(row[0]) if row else 0

        closer.close_claimed(members[:_WARM_UP])
        wait_until(lambda: summarised() == _WARM_UP, "the worker is warm")
        rig.begin_cpu()
        closer.close_claimed(members[_WARM_UP:])
        within_s = 30 + 0.2 * summaries
        time.sleep(1)
        wait_until(lambda: summarised() == len(members), "all are summarised", within_s)
        report.cpu_s = {**report.cpu_s, **rig.cpu_s()}
        return _mean_pause_ms(db, {one.session_id for one in members[_WARM_UP:]})


def _mean_pause_ms(db: psycopg.Connection, wanted: set[SessionId]) -> float:
    found: list[tuple[UUID, float]] = db.execute("""
        SELECT session_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8
        FROM summaries""").fetchall()
    stamps_s = sorted(at_s for session_id, at_s in found if session_id in wanted)
    return 1000 * (stamps_s[-1] - stamps_s[0]) / (len(stamps_s) - 1)


class _Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    takes_s = 0.0

    def do_POST(self) -> None:
        """Answer a chat completion after the time it takes, reading the question included."""
        began_s = monotonic_s()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(_COMPLETION).encode()
        time.sleep(max(0.0, self.takes_s - (monotonic_s() - began_s)))
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self.wfile.write(head.encode() + b"\r\n" + body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


_CONTENT = SummaryContent(
    text="The customer asked for sandals; the shop set the last pair aside.",
    title="Sandals in size 38",
    asked_for="Leather sandals in size 38",
    next_steps="She collects them tomorrow",
    language="en",
    sentiment="positive",
)
_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_772_000_000,
    "model": "fixed",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": _CONTENT.model_dump_json(),
                "refusal": None,
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


if __name__ == "__main__":
    _Model.takes_s = float(sys.argv[2]) / 1000
    with ThreadingHTTPServer((HOST, int(sys.argv[1])), _Model) as server:
        server.daemon_threads = True
        server.serve_forever()
