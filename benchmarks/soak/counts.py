"""Reads the active count of every business over HTTP, again and again, and notes each answer."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from itertools import cycle
from threading import Event, Thread

from benchmarks.soak.history import Count, History, now_us

EVERY_S = 0.2
_PATIENCE_S = 5.0


class CountReader:
    """A thread that reads. ``keys`` are the businesses' API keys by id."""

    def __init__(self, base_urls: Sequence[str], keys: Mapping[str, str], history: History) -> None:
        self._base_urls = base_urls
        self._keys = keys
        self._history = history
        self._stop = Event()
        self._thread = Thread(target=self._run, name="counts")
        self.unanswered = 0

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for business_id, base_url in zip(
            cycle(self._keys), cycle([*self._base_urls, self._base_urls[-1]]), strict=False
        ):
            if self._stop.wait(EVERY_S):
                return
            before_us = now_us()
            count = read_count(base_url, self._keys[business_id])
            if count is None:
                self.unanswered += 1
                continue
            reading = Count(before_us, now_us(), business_id, count)
            self._history.counts.append(reading)
            self._history.note("count", business_id=business_id, count=count, since_us=before_us)


def read_count(base_url: str, key: str) -> int | None:
    """Read one business's active count; None where no answer came."""
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{base_url}/api/whatsapp/active-chats?limit=1", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 - ours
            return int(json.load(answer)["active_chats_count"])
    except (OSError, ValueError):
        return None
