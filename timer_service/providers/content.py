"""What a message holds once its provider's shape is gone; passed between a parser's own parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from timer_service.messages import Media


class ContentFields(TypedDict):
    """The part of a ``ChatMessage`` that comes from its content."""

    type: str
    text: str
    media: Media | None
    payload: str | None
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A message's content; the fields mean what they mean in ``ChatMessage``."""

    type: str
    text: str = ""
    media: Media | None = None
    payload: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> ContentFields:
        """Return the content as keyword arguments of a ``ChatMessage``."""
        return ContentFields(
            type=self.type,
            text=self.text,
            media=self.media,
            payload=self.payload,
            extra=self.extra,
        )


UNSUPPORTED = Content(type="unsupported")
