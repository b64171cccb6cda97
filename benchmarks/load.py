"""A load generator that leaves the cores to what it measures: signed Meta webhooks over HTTP/1.1.

`ingest` and `under_load` start one, a process of its own. Every request is rendered and signed
before the clock starts; then one loop over epoll sends bytes and recognises answers: 15 µs of CPU
each at full speed. ``rate`` None: as fast as ``in_flight`` requests at once are answered.
Otherwise: so many a second whatever the server does, and a request's time runs from when it should
have been sent, so a server that stalls cannot hide behind a sender that waits for it.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Self

from benchmarks.webhooks import Plan, Tenant, render
from timer_service.clock import monotonic_s

ANSWER_WITHIN_S = 10.0
OK = 200
BROKEN = 0
"""The status of a request whose connection broke, or that was never answered."""
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each request that was sent, in their order."""

    sent_at_s: Sequence[float]
    """Since the start; where there is a ``rate``, when it should have been sent."""
    took_ms: Sequence[float]
    statuses: Sequence[int]
    lasted_s: float
    cpu_s: float

    @property
    def acknowledged(self) -> list[int]:
        """Which requests were answered 200."""
        return [index for index, status in enumerate(self.statuses) if status == OK]

    @property
    def answered_per_s(self) -> float:
        """How many a second were answered 200, until the last answer."""
        return len(self.acknowledged) / self.lasted_s if self.lasted_s else 0.0

    def missed(self, plan: Plan) -> int:
        """Return how many were answered otherwise or not at all; at a rate, also those unsent."""
        asked = len(self.statuses) if plan.rate is None else plan.requests
        return asked - len(self.acknowledged)


class Load:
    """The generator as its benchmark sees it. Made, it is ready; ``run`` sends what is planned."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._write(json.dumps(asdict(plan)))
        if self._out.readline() != b"ready\n":
            raise RuntimeError("the load generator did not get ready")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self) -> None:
        """Start the clock and begin to send."""
        self._write("go")

    def finish(self) -> Outcome:
        """Wait until all is sent and answered."""
        header: dict[str, Any] = json.loads(self._out.readline())
        columns = [array("d"), array("d"), array("d")]
        for column in columns:
            column.frombytes(self._out.read(8 * header["count"]))
        sent_at_s, took_ms, statuses = columns
        return Outcome(
            sent_at_s, took_ms, list(map(int, statuses)), header["lasted_s"], header["cpu_s"]
        )

    def run(self) -> Outcome:
        """Send all and wait for the answers."""
        self.start()
        return self.finish()

    @property
    def _out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


class _Lane:
    """One keep-alive connection; at most one request is under way on it."""

    __slots__ = ("index", "received", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.index = -1
        self.received = b""


class _Sender:
    """The loop."""

    def __init__(self, plan: Plan, requests: Sequence[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._poll = select.epoll()
        self._lanes: dict[int, _Lane] = {}
        self._idle: list[_Lane] = []
        self._usual_length = 0
        self._next = 0
        self.sent_at_s = array("d")
        self.took_ms = array("d")
        self.statuses = array("d")

    def run(self) -> float:
        """Send everything; return how long it took."""
        began_s = now_s = last_s = monotonic_s()
        ends_s = began_s + self._plan.seconds if self._plan.seconds else float("inf")
        while True:
            wake_s = self._send_due(began_s, now_s, ends_s)
            if wake_s is None and len(self._idle) == len(self._lanes):
                return last_s - began_s
            if now_s - last_s > ANSWER_WITHIN_S and wake_s is None:
                return last_s - began_s
            self._wait(ANSWER_WITHIN_S if wake_s is None else wake_s - now_s)
            for descriptor, _ in self._poll.poll(0):
                if self._receive(self._lanes[descriptor], began_s):
                    last_s = monotonic_s()
            now_s = monotonic_s()

    def _send_due(self, began_s: float, now_s: float, ends_s: float) -> float | None:
        """Send what is due; return when the next is, None where only answers are awaited."""
        rate = self._plan.rate
        while self._next < len(self._requests):
            if now_s >= ends_s:
                return None  # what is not sent by now counts as not answered
            due_s = now_s if rate is None else began_s + self._next / rate
            if due_s > now_s:
                return due_s
            if not self._idle and len(self._lanes) < self._plan.in_flight:
                self._connect()  # not before there is something to send: gateways do not either
            if not self._idle:
                return None
            lane = self._idle.pop()
            lane.index = self._next
            self._next += 1
            self.sent_at_s.append(due_s - began_s)
            self.took_ms.append(0.0)
            self.statuses.append(BROKEN)
            request = self._requests[lane.index]
            try:
                if lane.socket.send(request) != len(request):
                    raise RuntimeError("a request does not fit the socket's buffer")
            except OSError:
                self._drop(lane)
        return None

    def _wait(self, timeout_s: float) -> None:
        # epoll rounds up to whole ms; select on the epoll's own descriptor does not.
        select.select([self._poll], [], [], max(0.0, timeout_s))

    def _receive(self, lane: _Lane, began_s: float) -> bool:
        """Take what came; tell whether it completes an answer."""
        try:
            data = lane.socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._drop(lane)
            return False
        if lane.received or len(data) != self._usual_length or data[9:12] != b"200":
            data = lane.received + data
            if not _is_whole(data):
                lane.received = data
                return False
            lane.received = b""
            if not self._usual_length and data[9:12] == b"200":
                self._usual_length = len(data)
        index = lane.index
        self.took_ms[index] = (monotonic_s() - began_s - self.sent_at_s[index]) * 1000
        self.statuses[index] = int(data[9:12])
        lane.index = -1
        if len(data) != self._usual_length and b"connection: close" in data.lower():
            self._drop(lane)
        else:
            self._idle.append(lane)
        return True

    def _connect(self) -> None:
        lane = _Lane(self._plan.port)
        self._lanes[lane.socket.fileno()] = lane
        self._poll.register(lane.socket, select.EPOLLIN)
        self._idle.append(lane)

    def _drop(self, lane: _Lane) -> None:
        """Give up a connection the server ended; what was under way there is broken."""
        self._poll.unregister(lane.socket)
        del self._lanes[lane.socket.fileno()]
        lane.socket.close()
        if lane in self._idle:
            self._idle.remove(lane)


def _is_whole(data: bytes) -> bool:
    head_end = data.find(_HEAD_END)
    if head_end < 0:
        return False
    for line in data[:head_end].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(data) >= head_end + len(_HEAD_END) + int(value)
    raise RuntimeError("an answer without Content-Length")


def main() -> None:
    """Be the generator's process: a plan comes in on stdin, the outcome goes out on stdout."""
    given = json.loads(sys.stdin.readline())
    plan = Plan(**{**given, "tenants": [Tenant(**one) for one in given["tenants"]]})
    sender = _Sender(plan, render(plan))
    gc.disable()
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    if not sys.stdin.readline():
        return
    cpu_before_s = time.process_time()
    lasted_s = sender.run()
    cpu_s = time.process_time() - cpu_before_s
    columns = (sender.sent_at_s, sender.took_ms, sender.statuses)
    header = {"count": len(sender.statuses), "lasted_s": lasted_s, "cpu_s": cpu_s}
    out.write(json.dumps(header).encode() + b"\n")
    for column in columns:
        out.write(column.tobytes())
    out.flush()


if __name__ == "__main__":
    main()
