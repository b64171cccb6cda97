"""Splits chat messages into sentences and ranks them by how central they are. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence

_BREAK = re.compile(r"\n+|(?<=[.!?…؟。！？׃])[\"'”’)\]]*\s+|(?<=[。！？])")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"(?:^|\s)(?:jl|no|rp|st|dr|mr|mrs|ms|bpk|tlp|kec|kab|approx|e\.g|i\.e|vs|\d{1,2})\.$",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 12

_DAMPING = 0.85
_ROUNDS = 30


def split_sentences(text: str) -> list[str]:
    """Split at line ends and after ``. ! ? …`` and their like; abbreviations do not end one."""
    sentences: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        last_word = text[max(start, match.start() - _LONGEST_ABBREVIATION) : match.start()]
        if "\n" not in match.group() and _ABBREVIATION.search(last_word):
            continue
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if any(map(str.isalnum, sentence))]


def rank_sentences(stems: Sequence[frozenset[str]]) -> list[float]:
    """Score each sentence by TextRank: central is what shares words with what is central.

    ``stems`` are the sentences' content words. The scores average 1. Deterministic; the work grows
    with the pairs that share a word. Source: Mihalcea and Tarau, TextRank, EMNLP 2004.
    """
    similar = _similarities(stems)
    # In order of index, so that the sums come out the same in every process.
    edges = [sorted(similar[index].items()) for index in range(len(stems))]
    totals = [sum(weight for _, weight in edge) for edge in edges]
    scores = [1.0] * len(stems)
    for _ in range(_ROUNDS):
        scores = [
            1
            - _DAMPING
            + _DAMPING * sum(weight / totals[other] * scores[other] for other, weight in edge)
            for edge in edges
        ]
    mean = sum(scores) / len(scores) if scores else 1.0
    return [score / mean for score in scores]


def _similarities(stems: Sequence[frozenset[str]]) -> dict[int, dict[int, float]]:
    """Shared words over the sum of log lengths, for the pairs that share any."""
    holders: dict[str, list[int]] = defaultdict(list)
    for index, words in enumerate(stems):
        for word in words:
            holders[word].append(index)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for indexes in holders.values():
        for position, first in enumerate(indexes):
            for second in indexes[position + 1 :]:
                shared[first, second] += 1
    similar: dict[int, dict[int, float]] = defaultdict(dict)
    for (first, second), count in shared.items():
        # One is added because a one-word sentence has no logarithm to divide by.
        weight = count / (math.log1p(len(stems[first])) + math.log1p(len(stems[second])))
        similar[first][second] = similar[second][first] = weight
    return similar
