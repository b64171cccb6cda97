"""Decides whether a conversation holds anything worth a summary. Pure; asked by the summary job.

The rule, in a shopkeeper's words: a greeting is not a conversation, and one word is its own
summary. A single real question is worth one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from timer_service.messages import Author
from timer_service.summarizers.base import Transcript, Turn
from timer_service.summarizers.pleasantries import count_words_beyond_pleasantries

TOO_SHORT = "too_short"

_MIN_WORDS = 2
_QUESTION_MARK = re.compile("[?؟？]")  # noqa: RUF001 - the full-width mark is meant


def skip_reason(transcript: Transcript) -> str | None:
    """Return ``too_short`` where there is nothing to summarise, else None.

    Too short means: the customer sent nothing but stickers, unsupported messages, greetings,
    thanks, a bare yes or no, or one single word that asks nothing ("blue", not "price?"); and no
    agent said more than that; and the customer was not answering a bot that had ("Your table is
    booked for eight, reply YES"). Media count as something said. A bot nobody answered does not:
    an automatic welcome is no conversation.
    """
    turns = [turn for turn in transcript.turns if turn.has_content]
    customer_at = [index for index, turn in enumerate(turns) if turn.author is Author.CUSTOMER]
    if not customer_at:
        return TOO_SHORT
    customer = [turns[index] for index in customer_at]
    business = [
        turn
        for index, turn in enumerate(turns)
        if turn.author is Author.AGENT or (turn.author is Author.BOT and index < customer_at[-1])
    ]
    return None if _says_something(customer) or _says_something(business) else TOO_SHORT


def _says_something(turns: Sequence[Turn]) -> bool:
    total = 0
    for turn in turns:
        if not turn.text.strip():
            return True  # media, and media speak for themselves
        words = count_words_beyond_pleasantries(turn.text)
        if words and _QUESTION_MARK.search(turn.text):
            return True
        total += words
        if total >= _MIN_WORDS:
            return True
    return False
