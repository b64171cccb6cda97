"""Payloads broken the ways gateways, proxies and attackers break them, for property tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.contract.sample_files import Sample

_JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    3,
    1.5,
    float("nan"),
    float("inf"),
    2**70,
    10**400,
    "",
    " ",
    "0",
    "true",
    "\ud800",
    "a\x00b",
    "\u202eabc",
    "x" * 300,
    "9" * 400,
    "y" * 70_000,
    "status@broadcast",
    "false_972500000001@c.us_",
    "true__@lid_",
    "15550009999@s.whatsapp.net",
    "1e999",
    [],
    [None],
    [[]],
    [{}],
    {},
    {"": None},
    {"key": None},
    {"low": 1, "high": None},
    {"low": 2**63, "high": 2**63},
    {"message": {"message": {}}},
    {"editedMessage": {"message": {"protocolMessage": {"type": 14}}}},
]
_RAW_JUNK = [b"%", b"%zz", b"%ff%fe", b"%00", b"%ED%A0%80", b"\xff\x00", b"&&==", b"&", b";", b"+"]
GONE = object()
"""In the place of a value: none, not even null."""
_WAYS = ["replace", "drop", "null", "duplicate", "wrap_in_list", "wrap_in_object", "rename", "junk"]


def examples(number: int) -> settings:
    """Return the settings of a property test: no clock, no files, so many examples."""
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@st.composite
def broken_samples(draw: st.DrawFn, samples: Sequence[Sample]) -> bytes:
    """Take a sample and break one to five of its nodes."""
    sample = draw(st.sampled_from(samples))
    return sample.encoded(draw(broken(copy.deepcopy(sample.document))))


@st.composite
def broken_bytes(draw: st.DrawFn, samples: Sequence[Sample]) -> bytes:
    """Take a sample's bytes and cut, repeat or overwrite one to four pieces of them."""
    body: bytes = draw(st.sampled_from(samples)).body
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 60)))
        piece = draw(
            st.sampled_from([b"", body[start:end] * 3, *_RAW_JUNK]) | st.binary(max_size=8)
        )
        body = body[:start] + piece + body[end:]
    return body


@st.composite
def broken(draw: st.DrawFn, document: Any) -> Any:
    """Break one to five nodes of a document in place and return it."""
    for _ in range(draw(st.integers(1, 5))):
        places = list(_places(document))
        if not places:
            break
        holder, name = draw(st.sampled_from(places))
        _break(draw, holder, name)
    return document


def one_changed(document: Any, value: Any) -> Iterator[Any]:
    """Yield a document with each of its nodes replaced by ``value`` in turn; ``GONE``: taken out.

    It is the same document each time: use it before asking for the next.
    """
    for holder, name in list(_places(document)):
        if isinstance(holder, list):
            kept = [*holder]
            if value is GONE:
                del holder[name]
            else:
                holder[name] = value
            yield document
            holder[:] = kept
        else:
            entries = dict(holder)
            if value is GONE:
                del holder[name]
            else:
                holder[name] = value
            yield document
            holder.clear()
            holder.update(entries)


def _break(draw: st.DrawFn, holder: Any, name: Any) -> None:
    way = draw(st.sampled_from(_WAYS))
    old = holder[name]
    if way == "drop":
        del holder[name]
    elif way == "duplicate" and isinstance(old, list):
        holder[name] = old + copy.deepcopy(old)
    elif way == "rename" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["type", "id", "message", "key", "data"]))] = holder.pop(name)
    else:
        holder[name] = {
            "null": None,
            "wrap_in_list": [old],
            "wrap_in_object": {"message": old},
        }.get(way, copy.deepcopy(draw(st.sampled_from(_JUNK))))


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        entries: Any = list(node.items())
    elif isinstance(node, list):
        entries = list(enumerate(node))
    else:
        return
    for name, value in entries:
        yield node, name
        yield from _places(value)
