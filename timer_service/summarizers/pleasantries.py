"""Tells small talk from substance, in all our languages at once. Pure.

People greet in one language and write in another, so no language has to be guessed first.
"""

from __future__ import annotations

import re

from timer_service.summarizers.lexicons import LEXICONS

_WORD = re.compile(r"\w+")
# Written without blanks between words, where one run of letters is a whole sentence.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_UNSPACED_LETTERS_PER_WORD = 2
_READ_MAX_CHARS = 2_000
_STRETCHED_LETTER = re.compile(r"([^\W\d_])\1{2,}")


def is_pleasantry(text: str) -> bool:
    """Tell whether ``text`` is only greetings and courtesies: "Hi!", "ok thanks 🙏", "סבבה"."""
    return not count_words_beyond_pleasantries(text)


def is_greeting(text: str) -> bool:
    """Tell whether ``text`` only greets; unlike "yes" or "thanks", that answers nothing."""
    text = _STRETCHED_LETTER.sub(r"\1", text[:_READ_MAX_CHARS].lower())
    for lexicon in LEXICONS.values():
        text = lexicon.greetings.sub(" ", text)
    return not _WORD.search(text)


def count_words_beyond_pleasantries(text: str) -> int:
    """Count the words that are no greeting or courtesy; scripts without blanks by their letters."""
    # "hiiii" greets as "hi" does; and nobody greets for pages.
    text = _STRETCHED_LETTER.sub(r"\1", text[:_READ_MAX_CHARS].lower())
    for lexicon in LEXICONS.values():
        text = lexicon.courtesies.sub(" ", lexicon.greetings.sub(" ", text))
    unspaced = len(_UNSPACED.findall(text))
    words = len(_WORD.findall(_UNSPACED.sub(" ", text)))
    return words + -(-unspaced // _UNSPACED_LETTERS_PER_WORD)
