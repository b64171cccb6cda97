"""Reads a conversation sentence by sentence: who says it, and what kind of thing it is. Pure.

The extractive summarizer reads with this and then chooses among the sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from timer_service.messages import Author
from timer_service.summarizers.base import Turn
from timer_service.summarizers.lexicons.lexicon import Lexicon
from timer_service.summarizers.pleasantries import is_greeting, is_pleasantry
from timer_service.summarizers.sentences import rank_sentences, split_sentences

MAX_SENTENCES = 300
"""Ranking compares pairs; past this the first and last sentences are kept, as with turns."""

_QUESTION_MARK = re.compile("[?؟？]")  # noqa: RUF001 - the full-width mark is meant
_LEADING_PUNCTUATION = re.compile(r"^[^\w\"'“«(₪$€£#+@]+")
_WORD = re.compile(r"\w+(?:'\w+)?")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, greeting removed.

    ``position`` numbers the sentences, ``burst`` the runs of turns by the same side. ``score`` is
    how central it is; the average is 1.
    """

    position: int
    text: str
    burst: int
    author: Author
    stems: frozenset[str]
    score: float
    is_question: bool
    is_request: bool
    is_pleasantry: bool
    is_greeting: bool
    is_commitment: bool
    is_promise: bool
    is_arrangement: bool
    is_check: bool
    is_automatic: bool
    """Part of a bot's "thanks for writing, we will answer soon": it tells the customer nothing."""

    @property
    def is_customers(self) -> bool:
        """Whether the customer says it."""
        return self.author is Author.CUSTOMER

    @property
    def asks(self) -> bool:
        """Whether the customer wants something with it."""
        return not self.is_pleasantry and (self.is_question or self.is_request)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence as written (``whole``), without its greeting (``text``), and whose it is."""

    whole: str
    text: str
    burst: int
    author: Author
    is_automatic: bool


def read_sentences(
    turns: Sequence[Turn], lexicon: Lexicon, customer_name: str | None
) -> list[Sentence]:
    """Return the conversation's sentences in order; what WhatsApp itself says is left out."""
    names = frozenset(_words(customer_name or ""))
    pieces = _split_turns(turns, lexicon, names)
    if len(pieces) > MAX_SENTENCES:
        head = MAX_SENTENCES * 2 // 5
        pieces = pieces[:head] + pieces[head - MAX_SENTENCES :]
    stems = [_stems(piece.text, lexicon) for piece in pieces]
    scores = rank_sentences(stems)
    sentences = []
    for position, piece in enumerate(pieces):
        is_customers = piece.author is Author.CUSTOMER
        nameless = " ".join(word for word in _words(piece.whole) if word not in names)
        # A shop's "what you ordered is ready" opens like a question, so it needs its mark.
        opens_as_question = is_customers and lexicon.questions.search(piece.text)
        sentences.append(
            Sentence(
                position=position,
                text=piece.text,
                burst=piece.burst,
                author=piece.author,
                stems=stems[position],
                score=scores[position],
                is_question=bool(opens_as_question or _QUESTION_MARK.search(piece.text)),
                is_request=is_customers and _asks_or_complains(piece.text, lexicon),
                is_pleasantry=is_pleasantry(nameless),
                is_greeting=is_greeting(nameless),
                is_commitment=bool(lexicon.commitments.search(piece.text)),
                is_promise=not is_customers and bool(lexicon.promises.search(piece.text)),
                is_arrangement=not is_customers and bool(lexicon.arrangements.search(piece.text)),
                is_check=not is_customers and bool(lexicon.checks.search(piece.text)),
                is_automatic=piece.is_automatic,
            )
        )
    return sentences


def _asks_or_complains(text: str, lexicon: Lexicon) -> bool:
    return bool(lexicon.requests.search(text) or lexicon.negative.search(text))


def _split_turns(turns: Sequence[Turn], lexicon: Lexicon, names: frozenset[str]) -> list[_Piece]:
    pieces: list[_Piece] = []
    burst = 0
    previous: bool | None = None
    for turn in turns:
        if turn.author is Author.SYSTEM:
            continue
        is_customers = turn.author is Author.CUSTOMER
        burst += previous is not None and is_customers is not previous
        previous = is_customers
        straight = turn.text.replace("\u2019", "'")  # word lists write don't so
        is_automatic = turn.author is Author.BOT and bool(lexicon.checks.search(straight))
        for whole in split_sentences(straight):
            text = _strip_greeting(whole, lexicon, names)
            pieces.append(_Piece(whole, text, burst, turn.author, is_automatic))
    return pieces


def _strip_greeting(sentence: str, lexicon: Lexicon, names: frozenset[str]) -> str:
    """``Hi Dana, is it in stock?`` → ``is it in stock?``; a mere greeting stays as it is."""
    rest = sentence
    has_greeted = False
    while True:
        rest = _LEADING_PUNCTUATION.sub("", rest)
        match = lexicon.greetings.match(rest)
        if match is None and has_greeted:
            match = _match_name(rest, names)
        if match is None or not match.end():
            return rest or sentence
        has_greeted = True
        rest = rest[match.end() :]


def _match_name(text: str, names: frozenset[str]) -> re.Match[str] | None:
    match = _WORD.match(text)
    return match if match and match.group().lower() in names else None


def _stems(text: str, lexicon: Lexicon) -> frozenset[str]:
    return frozenset(lexicon.stem(word) for word in _words(text) if word not in lexicon.stop_words)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
