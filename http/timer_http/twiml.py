"""What Twilio is answered: an empty TwiML document, with the status of whatever happened.

The webhooks pass everything that leaves a Twilio address through `rewrite`. Any other text could be
sent to the customer as a message, and JSON is reported as an error in itself (source: twilio.com,
messaging webhooks, read November 2026).
"""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi.types import ResponseDict

MEDIA_TYPE = "text/xml"
EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response></Response>'


def _described(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {}}}


RESPONSES: ResponseDict = {
    200: _described("Understood, and durable where it was of interest"),
    400: _described("Not parseable"),
    401: _described("No proof of origin"),
    413: _described("Over 4 MB"),
    415: _described("Compressed"),
    503: _described("Not now; try again"),
}


def rewrite(response: Response) -> Response:
    """Put empty TwiML in the place of a response's body; status and other headers stay."""
    response.set_data(EMPTY)
    response.content_type = f"{MEDIA_TYPE}; charset=utf-8"
    return response
