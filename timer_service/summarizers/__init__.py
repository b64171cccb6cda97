"""Summarizers: one that asks a model and one that needs no network, behind one shape.

The summary job builds both once per process and decides when the second stands in for the first.
Nothing here reads or writes the database.
"""

from __future__ import annotations

from timer_service.errors import ConfigurationError
from timer_service.messages import SummarizerChoice
from timer_service.settings import Settings
from timer_service.summarizers.base import (
    Summarizer,
    SummaryContent,
    SummaryResult,
    Transcript,
    Turn,
    Wishes,
)
from timer_service.summarizers.extractive import ExtractiveSummarizer
from timer_service.summarizers.too_short import skip_reason

__all__ = [
    "ExtractiveSummarizer",
    "Summarizer",
    "SummaryContent",
    "SummaryResult",
    "Transcript",
    "Turn",
    "Wishes",
    "build_summarizers",
    "skip_reason",
]


def build_summarizers(settings: Settings) -> tuple[Summarizer | None, Summarizer]:
    """Return the model's summarizer (None where none is wanted) and the one without a network.

    ``auto`` asks a model where ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` is set. Opens no
    connection.

    Raises:
        ConfigurationError: a model is asked for and none is configured, or its address is no URL.
    """
    extractive = ExtractiveSummarizer()
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    base_url = settings.openai_base_url or None
    is_configured = bool(key or base_url)
    if settings.summarizer is SummarizerChoice.EXTRACTIVE:
        return None, extractive
    if not is_configured:
        if settings.summarizer is SummarizerChoice.AUTO:
            return None, extractive
        raise ConfigurationError(
            "TIMER_SUMMARIZER is openai, but neither OPENAI_API_KEY nor OPENAI_BASE_URL is set: "
            "set one of them, or TIMER_SUMMARIZER=extractive."
        )
    # Importing the vendor's package takes most of a second, and most processes never ask a model.
    from timer_service.summarizers.openai_model import OpenAISummarizer  # noqa: PLC0415

    return OpenAISummarizer(
        api_key=key, base_url=base_url, model=settings.summary_model
    ), extractive
