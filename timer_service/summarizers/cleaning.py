"""Makes what people and models wrote safe to store and short enough to show. Pure."""

from __future__ import annotations

import re

# Postgres refuses NUL, UTF-8 refuses lone surrogates, and no other control character has a use.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")

ELLIPSIS = "…"


def strip_unwanted(text: str) -> str:
    """Remove what cannot be stored; tabs and line ends stay."""
    return _UNWANTED.sub("", text)


def clean_text(text: str) -> str:
    """Return ``text`` as one storable line: unwanted characters gone, blanks collapsed."""
    return _BLANKS.sub(" ", strip_unwanted(text)).strip()


def cut(text: str, max_chars: int) -> str:
    """Shorten to at most ``max_chars`` at the last word that fits, ending in ``…``."""
    if len(text) <= max_chars:
        return text
    head = text[: max_chars - 1]
    if not text[max_chars - 1].isspace():
        whole_words = head.rsplit(None, 1)[0]
        # One endless word, or a script without blanks: losing most of it would be worse.
        head = whole_words if len(whole_words) >= max_chars // 2 else head
    return head.rstrip(" ,;:-") + ELLIPSIS


def cut_middle(text: str, max_chars: int) -> str:
    """Shorten to at most ``max_chars`` by leaving out the middle, marked ``[…]``."""
    marker = f" [{ELLIPSIS}] "
    if len(text) <= max_chars:
        return text
    room = max(max_chars - len(marker), 0)
    head = (room + 1) // 2
    tail = room - head
    return text[:head] + marker + (text[-tail:] if tail else "")
