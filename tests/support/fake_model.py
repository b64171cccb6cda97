"""A model server that speaks OpenAI's chat completions over real HTTP and does as it is told.

    with FakeModel() as model:
        model.will(rate_limited(retry_after="7"), summary(title="Shoes"))
        …  # OPENAI_BASE_URL=model.url, in this process or another
        assert model.requests[0].user_text

Replies are taken in order; after the last one, ``summary()`` for ever (or ``model.always(…)``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from timer_service.demo.loopback_server import LoopbackServer, Reply, Request

SUMMARY: dict[str, Any] = {
    "text": "The customer asked for a pair of sandals. The shop set one aside.",
    "title": "Sandals in size 38",
    "customer": "A returning customer",
    "asked_for": "Leather sandals in size 38",
    "provided": "The last pair was set aside",
    "next_steps": "She collects them tomorrow",
    "follow_up": None,
    "language": "en",
    "sentiment": "positive",
}


@dataclass(frozen=True)
class SeenRequest:
    """A request as it arrived, header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def roles(self) -> list[str]:
        return [message["role"] for message in self.body["messages"]]

    @property
    def system_text(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def user_text(self) -> str:
        return str(self.body["messages"][-1]["content"])


def summary(*, total_tokens: int | None = 321, **changes: Any) -> Reply:
    """A good structured answer, with some fields changed."""
    return content(json.dumps({**SUMMARY, **changes}), total_tokens=total_tokens)


def content(
    text: str | None,
    *,
    finish_reason: str = "stop",
    refusal: str | None = None,
    total_tokens: int | None = 321,
) -> Reply:
    """A completion whose message is exactly ``text``: not JSON, JSON of another shape, nothing."""
    usage = None
    if total_tokens is not None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": total_tokens}
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return raw(
        json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1_772_000_000,
                "model": "fake-model-2026",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": finish_reason,
                        "logprobs": None,
                        "message": message,
                    }
                ],
                "usage": usage,
            }
        )
    )


def raw(body: str, *, status: int = 200, content_type: str = "application/json") -> Reply:
    """Any body at all."""
    return Reply(status, body.encode(), {"Content-Type": content_type})


def refusal() -> Reply:
    return content(None, refusal="I cannot help with SECRET-VENDOR-WORDS.")


def cut_off() -> Reply:
    return content('{"text": "The customer as', finish_reason="length")


def content_filtered() -> Reply:
    return content("", finish_reason="content_filter")


def error(
    status: int, *, code: str | int | None = None, kind: str = "error", **headers: str
) -> Reply:
    """An error as OpenAI words it; ``retry_after="7"`` becomes the header ``Retry-After: 7``."""
    body = {"error": {"message": "SECRET-VENDOR-WORDS", "type": kind, "code": code, "param": None}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def rate_limited(**headers: str) -> Reply:
    return error(429, code="rate_limit_exceeded", kind="requests", **headers)


def hang() -> Reply:
    """Take the request and never answer, until the server is closed."""
    return Reply(kind="hang")


def reset() -> Reply:
    """Drop the connection with a TCP reset."""
    return Reply(kind="reset")


class FakeModel(LoopbackServer):
    """The server. Open it with ``with``; it listens on a free loopback port."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[SeenRequest] = []
        self._default = summary()

    @property
    def url(self) -> str:
        """What goes into ``OPENAI_BASE_URL``."""
        return f"{super().url}/v1"

    def always(self, reply: Reply) -> None:
        """Answer so from now on, once the replies in order are used up."""
        self._default = reply

    def answer(self, request: Request) -> Reply:
        """Answer a completion, or ``/v1/models``: a server is there, and which models it has."""
        if request.method == "GET":
            listed = {"object": "list", "data": [{"id": "fake-model-2026", "object": "model"}]}
            return raw(json.dumps(listed))
        body = json.loads(request.body)
        return self.take_reply(SeenRequest(request.path, dict(request.headers), body))

    def take_reply(self, seen: SeenRequest) -> Reply:
        """Note a request and choose its answer."""
        self.requests.append(seen)
        return self.told() or self._default
