"""A request's body with a file in the middle of it, which is read while it is sent.

The sending modules make these, `gateway_http` sends them. Never more than a part is held.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timer_service.errors import TimerServiceError

_PART_BYTES = 3 * 16 * 1024
"""Of three, so that base64 of the parts is base64 of the whole."""


class FileGone(TimerServiceError):
    """The file cannot be read any more: no whole request was sent."""


@dataclass(frozen=True, slots=True)
class FileBody:
    """What comes before the file, the file, and what comes after it."""

    before: bytes = field(repr=False)
    path: Path
    size_bytes: int
    after: bytes = field(repr=False)
    is_base64: bool = False

    @property
    def length(self) -> int:
        """How many bytes it has."""
        size = -(-self.size_bytes // 3) * 4 if self.is_base64 else self.size_bytes
        return len(self.before) + size + len(self.after)

    def __iter__(self) -> Iterator[bytes]:
        """Give the parts; from the beginning each time.

        Raises:
            FileGone: it cannot be read.
        """
        yield self.before
        try:
            with self.path.open("rb") as file:
                while part := file.read(_PART_BYTES):
                    yield base64.b64encode(part) if self.is_base64 else part
        except OSError as error:
            raise FileGone(f"a file to be sent: {type(error).__name__}") from None
        yield self.after


def as_multipart(
    fields: Mapping[str, str], mime_type: str, path: Path, size_bytes: int
) -> FileBody:
    """Make a form of fields and a file; its type is ``multipart/form-data``, see `boundary_of`."""
    boundary = secrets.token_hex(16)
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field_name}"\r\n\r\n{value}\r\n'
        for field_name, value in fields.items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        f"Content-Type: {mime_type}\r\n\r\n"
    )
    after = f"\r\n--{boundary}--\r\n".encode()
    return FileBody("".join(lines).encode(), path, size_bytes, after)


def boundary_of(body: FileBody) -> str:
    """Return what divides the parts of a form."""
    return body.before[2:].partition(b"\r\n")[0].decode()


def as_json(document: Mapping[str, Any], path: Path, size_bytes: int, mark: str) -> FileBody:
    """Make a JSON object in which the one string ``mark`` is the file as base64."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    before, _, after = text.partition(f'"{mark}"')
    return FileBody(f'{before}"'.encode(), path, size_bytes, f'"{after}'.encode(), is_base64=True)


def new_mark() -> str:
    """Make a string that stands for a file, and that nobody could have written in a message."""
    return f"file:{secrets.token_hex(16)}"
