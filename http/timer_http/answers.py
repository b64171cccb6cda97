"""Turns what the service answers into HTTP responses."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response
from pydantic import BaseModel


def json_answer(model: BaseModel, status: int = HTTPStatus.OK) -> Response:
    """Write a model as JSON."""
    return Response(model.model_dump_json(), status, mimetype="application/json")


def no_content() -> Response:
    """Answer 204."""
    return Response(status=HTTPStatus.NO_CONTENT)
