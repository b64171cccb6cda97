"""Reads a customer's mood off a few unmistakable words and emoji. Pure."""

from __future__ import annotations

import re

from timer_service.summarizers.base import Sentiment
from timer_service.summarizers.lexicons.lexicon import Lexicon

_GLAD_EMOJI = re.compile("[👍❤😊😍🥰😃🎉🙌😁👏]")
_CROSS_EMOJI = re.compile("[😡😠👎😤🤬😞]")


def judge_sentiment(text: str, lexicon: Lexicon) -> Sentiment:
    """Return how the writer of ``text`` seems to feel; ``neutral`` without clear words."""
    is_negative = bool(lexicon.negative.search(text) or _CROSS_EMOJI.search(text))
    # "Not satisfied" must not count as "satisfied".
    rest = lexicon.negative.sub(" ", text)
    is_positive = bool(lexicon.positive.search(rest) or _GLAD_EMOJI.search(rest))
    if is_positive and is_negative:
        return "mixed"
    if is_negative:
        return "negative"
    return "positive" if is_positive else "neutral"
