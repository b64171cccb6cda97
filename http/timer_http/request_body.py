"""Reads bodies: up to 4 MB of them, and JSON strictly, before flask-openapi makes models of it.

Flask's own reading lets through what breaks later: NaN, endless nesting, NUL characters and lone
surrogates, a string that holds JSON. The blueprints of the API set this as the request's
``json_module``.
"""

from __future__ import annotations

import json
import math
from threading import BoundedSemaphore
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge, ServiceUnavailable, UnsupportedMediaType

from timer_service.text_cleaning import clean_json

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
_MAX_DIGITS = 20
_AS_IT_IS = "identity"
_LARGE_BYTES = 256 * 1024
_LARGE_AT_ONCE = 32
"""Large bodies, or of untold length, that a process reads at one time: 128 MB at most. It has a
thread for each of hundreds of connections."""
_LARGE_WAIT_S = 0.4
_large = BoundedSemaphore(_LARGE_AT_ONCE)


def read_body() -> bytes:
    """Return the request's body.

    Raises:
        UnsupportedMediaType: it is compressed. No gateway does that, and a little of it could
            become a lot.
        RequestEntityTooLarge: over 4 MB, whether or not its length was told.
        ServiceUnavailable: too many large ones come at once.
    """
    if request.headers.get("Content-Encoding", _AS_IT_IS).lower() != _AS_IT_IS:
        raise UnsupportedMediaType("send the body uncompressed")
    if not _is_large():
        return _read()
    if not _large.acquire(timeout=_LARGE_WAIT_S):
        raise ServiceUnavailable("too many large bodies at once; try again in a moment")
    try:
        return _read()
    finally:
        _large.release()


def _is_large() -> bool:
    length = request.content_length
    return "Transfer-Encoding" in request.headers if length is None else length > _LARGE_BYTES


def _read() -> bytes:
    # Werkzeug 3.1 cuts a body of untold length off at the limit and says nothing: one byte more
    # shows it.
    request.max_content_length = MAX_BODY_BYTES + 1
    body = request.get_data()
    if len(body) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return body


def loads(body: str | bytes, **_: Any) -> Any:
    """Parse a JSON document; NUL characters are dropped, lone surrogates replaced.

    Raises:
        ValueError: not JSON, nested more than ``MAX_DEPTH`` deep, or with numbers that are no
            JSON numbers or longer than 20 digits.
    """
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_bounded)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(document)
    return clean_json(document)


def dumps(value: Any, **options: Any) -> str:
    """Write JSON; the counterpart that a ``json_module`` must have."""
    return json.dumps(value, **options)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(digits)


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            one
            for value in level
            if isinstance(value, dict | list)
            for one in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")
