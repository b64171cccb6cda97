"""Somebody who reads the console: a browser without its screen."""

from __future__ import annotations

import html
import re
from typing import Any, Self

from flask import Flask
from werkzeug.test import TestResponse

from tests.web.shop import Shop


class Reader:
    """A client of its own, signed in or not."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    @classmethod
    def signed_in(cls, app: Flask, key: str) -> Self:
        reader = cls(app)
        answer = reader.client.post("/sign-in", data={"key": key})
        assert answer.status_code == 303, answer.text
        return reader

    def open(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def press(self, path: str, **options: Any) -> TestResponse:
        return self.client.post(path, **options)

    def read(self, path: str, **options: Any) -> str:
        """Open a page that must be there; return its source."""
        answer = self.open(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.text


def page_of(shop: Shop) -> str:
    return f"/console/businesses/{shop.id}"


def page_of_session(shop: Shop, session_id: str) -> str:
    return f"{page_of(shop)}/sessions/{session_id}"


def words_of(source: str) -> str:
    """Return the text a page shows, blanks made one."""
    body = re.sub(r"<(head|template)\b.*?</\1>", " ", source, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", body)).split())


def live_line_of(source: str) -> str:
    """Return the words of the live line."""
    found = re.search(r'<p id="active-chats"[^>]*>(.*?)</p>', source, re.DOTALL)
    assert found is not None, source
    return words_of(found[1])
