"""Reads a form with one file, whose bytes go where they are kept as they come in."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import IO, cast

from flask import request
from werkzeug.exceptions import BadRequest, LengthRequired, ServiceUnavailable
from werkzeug.formparser import FormDataParser

from timer_http.problems import FieldError, InvalidRequest
from timer_service.uploads import Incoming

MULTIPART = "multipart/form-data"
_MOST_AT_ONCE = 16
"""Uploads a process takes at one time; each holds one of its threads."""
_BESIDE_THE_FILE = 64 * 1024
_MOST_PARTS = 5
_taking = BoundedSemaphore(_MOST_AT_ONCE)


def check_form() -> None:
    """Refuse what is no form before anything is made ready for it.

    Raises:
        InvalidRequest: it is none.
        LengthRequired: its length is not told.
    """
    if request.mimetype != MULTIPART:
        raise InvalidRequest([FieldError(field="file", message=f"expected {MULTIPART}")])
    if request.content_length is None:
        raise LengthRequired


def read_file(incoming: Incoming, most_bytes: int) -> str | None:
    """Take the form's field ``file`` in; return the file's name.

    Raises:
        InvalidRequest: there is no such field, or more than one.
        RequestEntityTooLarge, MediaTrouble: it is too large.
        ServiceUnavailable: too many come at one time.
    """
    if not _taking.acquire(blocking=False):
        raise ServiceUnavailable("too many files at once; try again in a moment")
    try:
        return _read(incoming, most_bytes)
    finally:
        _taking.release()


def _read(incoming: Incoming, most_bytes: int) -> str | None:
    request.max_content_length = most_bytes + _BESIDE_THE_FILE
    begun = 0

    def open_sink(*_: object, **__: object) -> IO[bytes]:
        nonlocal begun
        begun += 1
        if begun > 1:
            raise InvalidRequest([FieldError(field="file", message="expected one file")])
        return cast("IO[bytes]", _Sink(incoming))

    parser = FormDataParser(
        stream_factory=open_sink,
        max_form_memory_size=_BESIDE_THE_FILE,
        max_form_parts=_MOST_PARTS,
        silent=False,
    )
    try:
        _, _, files = parser.parse(
            request.stream, request.mimetype, request.content_length, request.mimetype_params
        )
    except ValueError:
        raise BadRequest("expected a whole form") from None
    found = files.get("file")
    if found is None:
        raise InvalidRequest([FieldError(field="file", message="this field is required")])
    return found.filename


class _Sink:
    """As much of a file as werkzeug wants to write to."""

    def __init__(self, incoming: Incoming) -> None:
        self.write = incoming.write

    def seek(self, _: int) -> None:
        """Stay: nobody reads it here."""

    def close(self) -> None:
        """Stay: it is closed by whoever keeps it."""
