"""What a summarizer reads, what it gives back, and the shape a model must answer in.

The summary job builds a ``Transcript`` from one session's messages and stores a ``SummaryResult``.
Whatever a summarizer answers passes ``SummaryContent``: cleaned, and short enough to store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from timer_service.messages import Author
from timer_service.summarizers.cleaning import clean_text, cut

Sentiment = Literal["positive", "neutral", "negative", "mixed"]

TITLE_MAX_CHARS = 80
TEXT_MAX_CHARS = 1_200
FIELD_MAX_CHARS = 500

UNDETERMINED = "und"
"""The BCP 47 tag for a language nobody could tell."""

_RENAMED_LANGUAGES = {"iw": "he", "in": "id"}
"""Tags that old systems, and models fed by them, still use; the names of 1989."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation; ``type`` and ``text`` as in ``messages.ChatMessage``."""

    message_id: str
    author: Author
    type: str
    text: str
    sent_at: datetime

    @property
    def has_content(self) -> bool:
        """Whether a person put something into it: text, or media other than a sticker."""
        if self.author is Author.SYSTEM:
            return False
        return bool(self.text.strip()) or self.type in _CONTENT_TYPES


_CONTENT_TYPES = frozenset(
    {"image", "video", "document", "audio", "voice", "location", "contacts", "order"}
    | {"button_reply", "list_reply", "media"}
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a business wants of its summaries. Only a model can write in another ``language``."""

    model: str | None = None
    language: str | None = None
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The messages of exactly one session, in order."""

    turns: tuple[Turn, ...]
    customer_name: str | None = None
    business_name: str | None = None
    wishes: Wishes = Wishes()


def _line(value: Any, max_chars: int) -> Any:
    """Clean and bound a string; anything else is left for pydantic to refuse."""
    return cut(clean_text(value), max_chars) if isinstance(value, str) else value


def _require_words(value: str) -> str:
    if not value:
        raise ValueError("expected words, found an empty string")
    return value


def _primary_tag(value: Any) -> Any:
    """``he-IL`` → ``he``, ``iw`` → ``he``; what is no tag becomes ``und``."""
    if not isinstance(value, str):
        return value
    tag = re.split(r"[-_]", value.strip().lower(), maxsplit=1)[0]
    tag = _RENAMED_LANGUAGES.get(tag, tag)
    return tag if re.fullmatch(r"[a-z]{2,3}", tag) else UNDETERMINED


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


_Text = Annotated[
    str, BeforeValidator(lambda value: _line(value, TEXT_MAX_CHARS)), AfterValidator(_require_words)
]
_Title = Annotated[
    str,
    BeforeValidator(lambda value: _line(value, TITLE_MAX_CHARS)),
    AfterValidator(_require_words),
]
_Optional = Annotated[
    str | None,
    BeforeValidator(lambda value: _line(value, FIELD_MAX_CHARS)),
    AfterValidator(lambda value: value or None),
]


class SummaryContent(BaseModel):
    """The summary itself; also the schema a model's structured output must follow.

    Lengths are cut, not refused: a long answer is still an answer. Validators leave the JSON schema
    alone, because strict structured output knows no lengths or patterns.
    """

    model_config = ConfigDict(frozen=True)

    text: _Text = Field(
        description="Two or three plain sentences a colleague can read instead of the conversation."
    )
    title: _Title = Field(description="What it was about, in at most eight words.")
    customer: _Optional = Field(
        default=None, description="Who the customer is, as far as the conversation tells."
    )
    asked_for: _Optional = Field(default=None, description="What the customer asked for.")
    provided: _Optional = Field(
        default=None, description="What the business answered, gave or did."
    )
    next_steps: _Optional = Field(
        default=None, description="What was agreed to happen next, by whom and when."
    )
    follow_up: _Optional = Field(
        default=None,
        description="The one task still open for the business, as an instruction; null if none.",
    )
    language: Annotated[str, BeforeValidator(_primary_tag)] = Field(
        description="The customer's language as a BCP 47 primary tag, such as he, en or id."
    )
    sentiment: Annotated[Sentiment, BeforeValidator(_lower)] = Field(
        description="How the customer felt about the business."
    )


@dataclass(frozen=True, slots=True)
class SummaryResult:
    """A summary and where it came from.

    ``message_ids`` are the turns that were read, in order; ``dropped_turns`` counts those a long
    conversation had to leave out. ``model`` and ``tokens`` are None where no model was asked.
    """

    content: SummaryContent
    summarizer: Literal["openai", "extractive"]
    model: str | None
    message_ids: tuple[str, ...]
    tokens: int | None
    dropped_turns: int


class Summarizer(Protocol):
    """Anything that turns a transcript into a summary."""

    def summarize(self, transcript: Transcript) -> SummaryResult:
        """Summarise the conversation in its own language.

        Raises:
            SummaryTemporarilyFailed: another try may work, after ``retry_after_s`` where told.
            SummaryRefused: it will not, however often it is asked.
        """
        ...
