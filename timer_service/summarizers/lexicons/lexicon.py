"""What a language's word lists are for, and how they are matched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


def compile_cues(
    phrases: str, *, before: str = "", after: str = "", at_start: bool = False
) -> re.Pattern[str]:
    """Compile phrases, separated by commas, into one pattern that matches whole words only.

    ``before`` and ``after`` are patterns of what may be glued on, such as Hebrew's "and" or an
    Indonesian particle.
    """
    # Longest first, so that "thank you so much" is not left as "so much".
    listed = sorted({phrase.strip() for phrase in phrases.split(",")} - {""}, key=len, reverse=True)
    choices = "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in listed)
    start = r"^\W*" if at_start else r"(?<!\w)"
    return re.compile(rf"{start}{before}(?:{choices}){after}(?!\w)", re.IGNORECASE)


def split_words(words: str) -> frozenset[str]:
    """Return the words, written with blanks between them."""
    return frozenset(words.split())


@dataclass(frozen=True, slots=True)
class Phrases:
    """The sentences a summary is put together from; ``{}`` takes the customer's or shop's words."""

    asked: str
    wrote: str
    sent: str
    answered: str
    unanswered: str
    shop_next: str
    customer_next: str
    shop: str
    customer: str
    greeting_only: str
    greeting_title: str
    media_title: str
    answer_them: str
    keep_promise: str
    media: Mapping[str, str]
    """Message type → a noun for one of them; ``other`` for types not listed."""
    quotes: tuple[str, str] = ("“", "”")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """One language's words.

    ``greetings`` open a message and can go from its front; ``courtesies`` (thanks, yes, goodbye)
    carry meaning beside other words and none alone. ``questions`` make a question without ``?``.
    ``requests`` are what customers come for, complaints included. ``commitments`` are promises in
    the first person, anybody's. From the business's mouth only: ``promises`` are its own deeds put
    otherwise ("it will be sent"), ``arrangements`` what else is to happen, and ``checks`` announce
    an answer instead of giving one. Affixes are stripped to compare words.
    """

    language: str
    stop_words: frozenset[str]
    greetings: re.Pattern[str]
    courtesies: re.Pattern[str]
    questions: re.Pattern[str]
    requests: re.Pattern[str]
    commitments: re.Pattern[str]
    promises: re.Pattern[str]
    arrangements: re.Pattern[str]
    checks: re.Pattern[str]
    positive: re.Pattern[str]
    negative: re.Pattern[str]
    phrases: Phrases
    prefixes: tuple[str, ...] = field(default=())
    suffixes: tuple[str, ...] = field(default=())

    def stem(self, word: str) -> str:
        """Strip at most one suffix and one prefix, leaving three letters or more."""
        for suffix in self.suffixes:
            if word.endswith(suffix) and len(word) - len(suffix) >= _STEM_MIN_CHARS:
                word = word.removesuffix(suffix)
                break
        for prefix in self.prefixes:
            if word.startswith(prefix) and len(word) - len(prefix) >= _STEM_MIN_CHARS:
                return word.removeprefix(prefix)
        return word


_STEM_MIN_CHARS = 3
