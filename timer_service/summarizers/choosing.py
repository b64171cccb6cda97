"""Chooses the sentences that tell the story: what was wanted, answered, agreed, left open. Pure.

The extractive summarizer puts them together. Every rule here is about kinds of sentences; the
words that make the kinds are in the lexicons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timer_service.messages import Author
from timer_service.summarizers.reading import Sentence

_MAX_STEPS = 3
_SECOND_PICK_SHARE = 0.55
_VAGUE_BELOW_STEMS = 2
_SAYS_MUCH_FROM_STEMS = 4


def choose_asked(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Choose what the customer wants, weightiest first, at most two.

    That is the most central of their questions, requests and complaints, and of what they opened
    with; where there is none, the most central thing they said.
    """
    said = [one for one in sentences if one.is_customers and not one.is_pleasantry]
    opening = next((one for one in said if len(one.stems) >= _SAYS_MUCH_FROM_STEMS), None)
    first_burst = next((one.burst for one in said if one.asks), None)

    def weigh(one: Sentence) -> float:
        weight = one.score * (1.6 if one.is_question else 1) * (1.4 if one.is_request else 1)
        # People open with what they came for; later questions are mostly details of it.
        weight *= 2 if one is opening else 1.5 if one.asks and one.burst == first_burst else 1
        return weight * (0.5 if len(one.stems) < _VAGUE_BELOW_STEMS else 1)

    return _best_two([one for one in said if one.asks or one is opening] or said, weigh)


def add_context(sentences: Sequence[Sentence], chosen: Sequence[Sentence]) -> list[Sentence]:
    """Return the chosen and what they hang on, in the order they were said.

    A vague one ("do you have it in 38?") brings the sentence before it in the same breath; any
    brings the scrap that follows it ("size L").
    """
    wanted = {one.position for one in chosen}
    for one in chosen:
        before, after = one.position - 1, one.position + 1
        if len(one.stems) < _SAYS_MUCH_FROM_STEMS and _belongs(sentences, before, one):
            wanted.add(before)
        if (
            _belongs(sentences, after, one)
            and not sentences[after].asks
            and len(sentences[after].stems) < _SAYS_MUCH_FROM_STEMS - 1
        ):
            wanted.add(after)
    return [sentences[position] for position in sorted(wanted)]


def choose_next_steps(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Choose what was agreed to happen: the last promises and arrangements, either side's.

    "Let me check" is one only as long as nothing was said after it.
    """
    return [
        one
        for one in sentences
        if not one.is_question
        and not one.is_pleasantry
        and len(one.stems) >= _VAGUE_BELOW_STEMS
        and _is_step(one)
        and not (one.is_check and _is_answered_after(sentences, one))
    ][-_MAX_STEPS:]


def choose_provided(
    sentences: Sequence[Sentence], asked: Sequence[Sentence], steps: Sequence[Sentence]
) -> list[Sentence]:
    """Choose what the business answered: its most central statements after the first request.

    Where it only said what will happen, that, though it is a next step as well; where it said no
    more than "yes" to a question, that.
    """
    first_burst = asked[0].burst if asked else 0
    asking_bursts = {one.burst for one in sentences if one.is_customers and one.asks}
    wanted = frozenset[str]().union(*(one.stems for one in asked))
    held_back = {one.position for one in steps}
    said = [
        one
        for one in sentences
        if not (one.is_customers or one.is_question or one.is_check or one.is_automatic)
        and one.position not in held_back
    ]
    substantial = [one for one in said if not one.is_pleasantry]
    answers = [one for one in substantial if one.burst > first_burst]

    def weigh(one: Sentence) -> float:
        weight = one.score * (1.5 if one.burst - 1 in asking_bursts else 1)
        weight *= 1 + 0.5 * len(one.stems & wanted)
        weight *= 1.3 if any(map(str.isdecimal, one.text)) else 1
        return weight * (0.5 if len(one.stems) < _VAGUE_BELOW_STEMS else 1)

    if answers or substantial:
        return sorted(_best_two(answers or substantial, weigh), key=_position)
    if steps:
        return [one for one in steps if not one.is_customers and not one.is_check][:1]
    return [
        one
        for one in said
        if one.author is Author.AGENT and not one.is_greeting and one.burst - 1 in asking_bursts
    ][:1]


def find_unanswered(sentences: Sequence[Sentence], asked: Sequence[Sentence]) -> Sentence | None:
    """Return the customer's last question or request if nobody has dealt with it."""
    asking = [one for one in sentences if one.is_customers and one.asks]
    last = asking[-1] if asking else (asked[-1] if asked else None)
    if last is None or _is_answered_after(sentences, last):
        return None
    return last


def _is_answered_after(sentences: Sequence[Sentence], one: Sentence) -> bool:
    return any(
        _is_answer(later)
        for later in sentences[one.position + 1 :]
        if later.burst > one.burst or not one.is_customers
    )


def _is_answer(one: Sentence) -> bool:
    """An agent's "yes" answers, an automatic "thanks for writing" or "let me check" does not."""
    if one.is_customers or one.is_check or one.is_automatic or one.is_greeting:
        return False
    return one.author is Author.AGENT or not one.is_pleasantry


def _is_step(one: Sentence) -> bool:
    if one.is_customers:
        return one.is_commitment and not one.is_request
    if one.is_automatic:
        return False
    return one.is_commitment or one.is_promise or one.is_arrangement or one.is_check


def _position(one: Sentence) -> int:
    return one.position


def _best_two(candidates: Sequence[Sentence], weigh: Callable[[Sentence], float]) -> list[Sentence]:
    """Return the heaviest, and the next if it is nearly as heavy and says something else."""
    ranked = sorted(candidates, key=weigh, reverse=True)
    chosen = ranked[:1]
    for one in ranked[1:]:
        if weigh(one) < _SECOND_PICK_SHARE * weigh(chosen[0]):
            break
        if one.text.lower() != chosen[0].text.lower() and not one.stems <= chosen[0].stems:
            chosen.append(one)
            break
    return chosen


def _belongs(sentences: Sequence[Sentence], position: int, one: Sentence) -> bool:
    """Whether the sentence at ``position`` says something in the same breath as ``one``."""
    if not 0 <= position < len(sentences):
        return False
    other = sentences[position]
    return other.burst == one.burst and not other.is_pleasantry
