"""Word lists and fixed phrases of the languages our shops write in, one module per language.

Data only: the extractive summarizer and the too-short rule read it. To add a language, write its
module and list it here; nothing else changes.
"""

from __future__ import annotations

from timer_service.summarizers.lexicons import english, hebrew, indonesian
from timer_service.summarizers.lexicons.lexicon import Lexicon

LEXICONS: dict[str, Lexicon] = {
    lexicon.language: lexicon for lexicon in (english.LEXICON, hebrew.LEXICON, indonesian.LEXICON)
}


def lexicon_for(language: str) -> Lexicon:
    """Return the language's lexicon, or the English one where there is none."""
    return LEXICONS.get(language, english.LEXICON)
