"""Answers with a file that somebody sent, so that no browser runs any of it.

The API and the console call it. The type is one that a browser shows and never runs, or else the
file is saved; whatever it holds, it gets a page of nobody's origin.
"""

from __future__ import annotations

import re

from flask import Response, request, send_file

from timer_service.file_types import shown_as, suffix_of
from timer_service.ids import shorten
from timer_service.media_library import MediaFile

POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

_LONGEST_NAME = 150
# Control characters, what a file system takes for more than a name, what turns the letters around.
_NOT_IN_A_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]')


def answer_file(found: MediaFile, *, max_age_s: int = 0) -> Response:
    """Answer with an open file, or the part of it that is asked for; it is closed afterwards.

    Raises:
        RequestedRangeNotSatisfiable: it has no such part.
    """
    shown = shown_as(found.mime_type)
    response = send_file(
        found.file,
        shown.mime_type,
        as_attachment=not shown.is_inline,
        download_name=_name_of(found),
        conditional=False,
        etag=shorten(found.id),
    )
    response.content_length = found.size_bytes
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = POLICY
    # Asked again each time: it may have been erased, and whoever signed in may have left.
    response.headers["Cache-Control"] = f"private, max-age={max_age_s}, must-revalidate"
    try:
        response.make_conditional(
            request.environ, accept_ranges=True, complete_length=found.size_bytes
        )
    except BaseException:
        found.file.close()
        raise
    return response


def _name_of(found: MediaFile) -> str:
    given = _NOT_IN_A_NAME.sub("_", found.file_name or "").strip(" .")[-_LONGEST_NAME:]
    return given or f"{found.type}{suffix_of(found.mime_type)}"
