"""Makes any text one that Postgres and UTF-8 take."""

from __future__ import annotations

from typing import Any


def clean_text(text: str) -> str:
    """Drop NUL characters and replace lone surrogates; everything else stays as it is."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def clean_json(value: Any) -> Any:
    """Return a copy of plain JSON with every string in it cleaned, names of members included."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(name)): clean_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(one) for one in value]
    return value
