"""The summarizer that needs no network, no download and no model: it quotes the right sentences.

Used where no model is configured, and where one has failed for good. It never invents: everything
it says is a fixed phrase of the conversation's language or the words of the people in it. The same
transcript gives the same summary in every process.
"""

from __future__ import annotations

from collections.abc import Sequence

from timer_service.messages import Author
from timer_service.summarizers.base import (
    FIELD_MAX_CHARS,
    TITLE_MAX_CHARS,
    SummaryContent,
    SummaryResult,
    Transcript,
    Turn,
)
from timer_service.summarizers.choosing import (
    add_context,
    choose_asked,
    choose_next_steps,
    choose_provided,
    find_unanswered,
)
from timer_service.summarizers.cleaning import clean_text, cut
from timer_service.summarizers.language import detect_language, guess_language
from timer_service.summarizers.lexicons import lexicon_for
from timer_service.summarizers.lexicons.lexicon import Phrases
from timer_service.summarizers.reading import Sentence, read_sentences
from timer_service.summarizers.sentiment import judge_sentiment
from timer_service.summarizers.window import fit

WINDOW_CHARS = 40_000

_QUOTE_MAX_CHARS = 260
_SENTENCE_ENDS = ".!?…؟。！？"  # noqa: RUF001 - full-width marks are meant


class ExtractiveSummarizer:
    """Summarises by quoting; ``choosing`` says what it looks for."""

    def summarize(self, transcript: Transcript) -> SummaryResult:
        """Summarise any transcript, in its own language; never fails."""
        window = fit(transcript, WINDOW_CHARS)
        return SummaryResult(
            content=_write(window.turns, transcript.customer_name),
            summarizer="extractive",
            model=None,
            message_ids=tuple(turn.message_id for turn in window.turns),
            tokens=None,
            dropped_turns=window.dropped,
        )


def _write(turns: Sequence[Turn], customer_name: str | None) -> SummaryContent:
    customer_text = "\n".join(turn.text for turn in turns if turn.author is Author.CUSTOMER)
    everything = "\n".join(turn.text for turn in turns if turn.author is not Author.SYSTEM)
    language = guess_language(customer_text) or detect_language(everything)
    lexicon = lexicon_for(language)
    phrases = lexicon.phrases
    sentences = read_sentences(turns, lexicon, customer_name)
    main_first = choose_asked(sentences)
    asked = add_context(sentences, main_first)
    steps = choose_next_steps(sentences)
    provided = choose_provided(sentences, asked, steps)
    waiting = find_unanswered(sentences, asked)
    sent = None if asked else _find_media(turns, phrases)
    return SummaryContent(
        text=_compose_text(phrases, asked, provided, steps, sent, is_waiting=bool(waiting)),
        title=_compose_title(phrases, main_first, sent),
        customer=customer_name,
        asked_for=_join(asked) or sent,
        provided=_join(provided) or None,
        next_steps=_attribute(phrases, steps) or None,
        follow_up=_compose_follow_up(phrases, steps, waiting),
        language=language,
        sentiment=judge_sentiment(customer_text, lexicon),
    )


def _find_media(turns: Sequence[Turn], phrases: Phrases) -> str | None:
    """Name the first thing the customer sent without a word, if any."""
    for turn in turns:
        if turn.author is Author.CUSTOMER and turn.has_content and not turn.text.strip():
            return phrases.media.get(turn.type, phrases.media["other"])
    return None


def _compose_text(
    phrases: Phrases,
    asked: Sequence[Sentence],
    provided: Sequence[Sentence],
    steps: Sequence[Sentence],
    sent: str | None,
    *,
    is_waiting: bool,
) -> str:
    def quote(sentences: Sequence[Sentence]) -> str:
        opening, closing = phrases.quotes
        return f"{opening}{cut(_join(sentences), _QUOTE_MAX_CHARS)}{closing}"

    if asked:
        is_question = any(one.is_question for one in asked)
        parts = [(phrases.asked if is_question else phrases.wrote).format(quote(asked))]
    else:
        parts = [phrases.sent.format(sent) if sent else phrases.greeting_only]
    if provided:
        parts.append(phrases.answered.format(quote(provided)))
    if is_waiting:
        parts.append(phrases.unanswered)
    elif new_steps := [one for one in steps if one not in provided]:
        last = new_steps[-1]
        phrase = phrases.customer_next if last.is_customers else phrases.shop_next
        parts.append(phrase.format(quote([last])))
    return " ".join(parts)


def _compose_title(phrases: Phrases, main_first: Sequence[Sentence], sent: str | None) -> str:
    if not main_first:
        return phrases.media_title.format(sent) if sent else phrases.greeting_title
    title = main_first[0].text
    return cut(title[0].upper() + title[1:].rstrip(".!, "), TITLE_MAX_CHARS)


def _compose_follow_up(
    phrases: Phrases, steps: Sequence[Sentence], waiting: Sentence | None
) -> str | None:
    tasks = [phrases.answer_them.format(waiting.text)] if waiting else []
    promised = [
        one
        for one in steps
        if not one.is_customers and (one.is_commitment or one.is_promise or one.is_check)
    ]
    if promised:
        tasks.append(phrases.keep_promise.format(promised[-1].text))
    return " ".join(tasks) or None


def _attribute(phrases: Phrases, steps: Sequence[Sentence]) -> str:
    speakers = [phrases.customer if one.is_customers else phrases.shop for one in steps]
    return " ".join(
        f"{speaker}: {_end(one.text)}" for speaker, one in zip(speakers, steps, strict=True)
    )


def _join(sentences: Sequence[Sentence]) -> str:
    texts = [one.text for one in sentences]
    return cut(clean_text(" ".join([*map(_end, texts[:-1]), *texts[-1:]])), FIELD_MAX_CHARS)


def _end(text: str) -> str:
    return text if text[-1] in _SENTENCE_ENDS or not text[-1].isalnum() else f"{text}."
