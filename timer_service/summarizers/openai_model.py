"""The summarizer that asks a model, at OpenAI or at any server that speaks its chat completions.

The summary job calls it and decides about retries: every call here is one attempt, and what goes
wrong comes out as a ``SummaryError`` that says whether another is worth it. A long conversation is
shortened, never refused.
"""

from __future__ import annotations

from functools import lru_cache
from ssl import SSLContext

import httpx2
import openai
from openai.types.chat import ParsedChatCompletion

from timer_service.errors import (
    ConfigurationError,
    SummaryRefused,
    SummaryTemporarilyFailed,
)
from timer_service.messages import Author
from timer_service.summarizers.base import (
    UNDETERMINED,
    SummaryContent,
    SummaryResult,
    Transcript,
)
from timer_service.summarizers.language import detect_language
from timer_service.summarizers.model_errors import may_be_too_long, translate_status
from timer_service.summarizers.prompt import build_messages
from timer_service.summarizers.window import MIN_WINDOW_CHARS, Window, fit, size_chars

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_WINDOW_CHARS = 48_000
"""About 12,000 tokens of English or 25,000 of Hebrew."""

_MAX_SHRINKS = 5
_NO_KEY = "none"
"""Local servers want no key, and the client will not start without one."""


class OpenAISummarizer:
    """Asks one model for structured summaries. Thread-safe, and safe to fork after building."""

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str | None,
        model: str,
        timeout_s: float = 60.0,
        window_chars: int = DEFAULT_WINDOW_CHARS,
    ) -> None:
        self._base_url = base_url or DEFAULT_BASE_URL
        if not self._base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                "OPENAI_BASE_URL is wrong: expected an address that starts with http:// or "
                "https://, such as http://127.0.0.1:8000/v1"
            )
        self._api_key = api_key or _NO_KEY
        self._model = model
        self._timeout_s = timeout_s
        self._window_chars = window_chars

    def summarize(self, transcript: Transcript) -> SummaryResult:
        """Ask the model once; again at once only with less text, where it was too much.

        Raises:
            SummaryTemporarilyFailed: ``model_rate_limited``, ``model_timeout``,
                ``model_unreachable``, ``model_error`` or ``model_bad_output``.
            SummaryRefused: ``model_refused``, ``model_auth``, ``model_quota`` or
                ``model_bad_request``.
        """
        # One client per summary: no connection outlives the call or crosses a fork.
        with openai.OpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            timeout=self._timeout_s,
            max_retries=0,  # the queue retries, with backoff, without holding a worker
            http_client=openai.DefaultHttpxClient(verify=_trusted()),
        ) as client:
            window = fit(transcript, self._window_chars)
            shrinks = 0
            while True:
                try:
                    return self._read(self._ask(client, transcript, window), transcript, window)
                except openai.APIStatusError as error:
                    may_shrink = shrinks < _MAX_SHRINKS and may_be_too_long(error)
                    smaller = _halve(transcript, window) if may_shrink else None
                    if smaller is None:
                        raise translate_status(error) from None
                window = smaller
                shrinks += 1

    def _model_for(self, transcript: Transcript) -> str:
        return transcript.wishes.model or self._model

    def _ask(
        self, client: openai.OpenAI, transcript: Transcript, window: Window
    ) -> ParsedChatCompletion[SummaryContent]:
        # "from None" throughout: the library's errors carry the response, and what it quotes.
        try:
            return client.chat.completions.parse(
                model=self._model_for(transcript),
                messages=build_messages(transcript, window),
                response_format=SummaryContent,
            )
        except openai.APIStatusError:
            raise
        except openai.APITimeoutError:
            raise SummaryTemporarilyFailed(
                "model_timeout",
                f"expected an answer from the model within {self._timeout_s:g} s, found none",
            ) from None
        except openai.APIConnectionError:
            raise SummaryTemporarilyFailed(
                "model_unreachable",
                "the model endpoint cannot be reached or hung up: check OPENAI_BASE_URL",
            ) from None
        except openai.ContentFilterFinishReasonError:
            raise SummaryRefused(
                "model_refused", "the model's content filter stopped the summary"
            ) from None
        except openai.LengthFinishReasonError:
            raise _bad_output("was cut off") from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            # The library walks an answer before it has checked its shape: an answer that is no
            # completion at all surfaces as any of these, a wrong summary as a ValueError.
            raise _bad_output("does not have the shape asked for") from None

    def _read(
        self,
        completion: ParsedChatCompletion[SummaryContent],
        transcript: Transcript,
        window: Window,
    ) -> SummaryResult:
        if not completion.choices:
            raise _bad_output("has no choices")
        message = completion.choices[0].message
        if message.refusal:
            raise SummaryRefused("model_refused", "the model refused to summarise the conversation")
        if message.parsed is None:
            raise _bad_output("is empty")
        content = message.parsed
        if transcript.wishes.language:
            content = content.model_copy(update={"language": transcript.wishes.language})
        elif content.language == UNDETERMINED:
            content = content.model_copy(update={"language": _language_of(transcript)})
        return SummaryResult(
            content=content,
            summarizer="openai",
            model=self._model_for(transcript),
            message_ids=tuple(turn.message_id for turn in window.turns),
            tokens=completion.usage.total_tokens if completion.usage else None,
            dropped_turns=window.dropped,
        )


@lru_cache(maxsize=1)
def _trusted() -> SSLContext:
    """Read the certificates to trust once: with each client it would take 20 ms of a core."""
    return httpx2.create_ssl_context()


def _halve(transcript: Transcript, window: Window) -> Window | None:
    """Return a window of half the size, or None where nothing is left to leave out."""
    size = size_chars(window.turns)
    if size <= MIN_WINDOW_CHARS:
        return None
    return fit(transcript, size // 2)


def _language_of(transcript: Transcript) -> str:
    return detect_language(
        "\n".join(turn.text for turn in transcript.turns if turn.author is Author.CUSTOMER)
    )


def _bad_output(what: str) -> SummaryTemporarilyFailed:
    return SummaryTemporarilyFailed(
        "model_bad_output", f"expected a summary as structured output, found one that {what}"
    )
