"""Takes a file out of a JSON object that has it as base64, while the object comes in. Pure.

``{"mimetype": "image/jpeg", "base64": "/9j/4AAQ…", "buffer": null}``: never more than a part of it
is held. Called by `media_fetch`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

MOST_BEFORE = 256 * 1024
"""How far into the object the file must begin."""

_BEGINS = re.compile(rb'"base64"\s*:\s*"(?:data:[^,"]{0,200},)?')
_LONGEST_BEGINNING = 300
_QUARTET = 4


class NoFile(ValueError):
    """The object has no whole file as base64."""


def decode_member(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Give the file's bytes, in parts about as long as those of the object.

    Raises:
        NoFile: there is none, or it is broken off or no base64.
    """
    before, incoming = b"", iter(parts)
    for part in incoming:
        before += part
        begins = _BEGINS.search(before)
        # What it begins with may be cut by the end of a part.
        if begins is not None and begins.end() < len(before) - _LONGEST_BEGINNING:
            break
        if begins is None and len(before) > MOST_BEFORE:
            raise NoFile("expected a file as base64")
    else:
        begins = _BEGINS.search(before)
    if begins is None:
        raise NoFile("expected a file as base64")
    yield from _decode(before[begins.end() :], incoming)


def _decode(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    kept = b""
    part: bytes | None = first
    while part is not None:
        letters, ends, _ = part.partition(b'"')
        kept += letters.replace(b"\\/", b"/").replace(b"\\", b"")
        whole = len(kept) if ends else len(kept) // _QUARTET * _QUARTET
        try:
            yield base64.b64decode(kept[:whole], validate=True)
        except binascii.Error:
            raise NoFile("expected base64") from None
        if ends:
            return
        kept = kept[whole:]
        part = next(rest, None)
    raise NoFile("the file is broken off")
