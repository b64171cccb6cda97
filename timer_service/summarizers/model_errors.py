"""Turns what goes wrong between us and a model into our own errors, and says whether to try again.

The vendor's words never pass: a response body can quote the customer, and a traceback ends up in
the queue. Only statuses, codes and headers are read.
"""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

import openai

from timer_service.clock import utc_now
from timer_service.errors import SummaryError, SummaryRefused, SummaryTemporarilyFailed

RETRY_AFTER_MAX_S = 3_600.0

_CONTEXT_CODES = {
    "context_length_exceeded",
    "string_above_max_length",
    "exceed_context_size_error",
}
_FILTER_CODES = {"content_filter", "content_policy_violation"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_HTTP_TOO_LARGE = 413
_HTTP_TIMED_OUT = {408, 504}
_HTTP_WORTH_RETRYING = {409, 425}
_HTTP_SERVER_ERROR_FROM = 500


def may_be_too_long(error: openai.APIStatusError) -> bool:
    """Tell whether a shorter conversation could be accepted.

    OpenAI says ``context_length_exceeded``, llama.cpp has a type of its own for it (with 400 or
    500; its pull request 15780 and issue 19774), and vLLM answers a plain 400 with code 400 whose
    cause stands only in prose (its pull request 37011). So a 400 that names no cause counts.
    """
    if error.status_code == _HTTP_TOO_LARGE or _reasons(error) & _CONTEXT_CODES:
        return True
    if error.status_code != openai.BadRequestError.status_code:
        return False
    return error.code is None or error.code.isdecimal()


def translate_status(error: openai.APIStatusError) -> SummaryError:
    """Return our error for an answer with a status of 4xx or 5xx."""
    return _translate_passing(error) or _translate_lasting(error)


def _translate_passing(error: openai.APIStatusError) -> SummaryTemporarilyFailed | None:
    status = error.status_code
    retry_after_s = read_retry_after_s(error)
    if isinstance(error, openai.RateLimitError) and not _reasons(error) & _QUOTA_CODES:
        return SummaryTemporarilyFailed(
            "model_rate_limited",
            "expected an answer from the model, found its rate limit (429)",
            retry_after_s=retry_after_s,
        )
    if status in _HTTP_TIMED_OUT:
        return SummaryTemporarilyFailed(
            "model_timeout",
            f"the model endpoint gave up waiting ({status})",
            retry_after_s=retry_after_s,
        )
    if status in _HTTP_WORTH_RETRYING or status >= _HTTP_SERVER_ERROR_FROM:
        return SummaryTemporarilyFailed(
            "model_error",
            f"expected an answer from the model, found its server's error ({status})",
            retry_after_s=retry_after_s,
        )
    return None


def _translate_lasting(error: openai.APIStatusError) -> SummaryRefused:
    status = error.status_code
    if isinstance(error, openai.RateLimitError):
        return SummaryRefused(
            "model_quota", "the model's account has no quota left: check its billing"
        )
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return SummaryRefused(
            "model_auth", f"the model endpoint refused our key ({status}): check OPENAI_API_KEY"
        )
    if _reasons(error) & _FILTER_CODES:
        return SummaryRefused(
            "model_refused", "the model's content filter refused the conversation"
        )
    return SummaryRefused(
        "model_bad_request",
        f"the model endpoint did not accept our request ({status}): check TIMER_SUMMARY_MODEL, "
        "OPENAI_BASE_URL, and that the model offers structured output",
    )


def _reasons(error: openai.APIStatusError) -> set[str | None]:
    # Some servers put into "type" what OpenAI puts into "code".
    return {error.code, error.type}


def read_retry_after_s(error: openai.APIStatusError) -> float | None:
    """Return the seconds the server asks us to wait, at most an hour; None if it does not say.

    ``Retry-After`` is seconds or an HTTP date (RFC 9110, 10.2.3); OpenAI also sends
    ``retry-after-ms``.
    """
    headers = error.response.headers
    delay_ms = _read_number(headers.get("retry-after-ms"))
    asked = headers.get("retry-after")
    delay_s = _read_number(asked) if delay_ms is None else delay_ms / 1000
    if delay_s is None and asked:
        try:
            delay_s = (parsedate_to_datetime(asked) - utc_now()).total_seconds()
        except (ValueError, TypeError):  # not a date, or a date without a zone
            return None
    return None if delay_s is None else min(max(delay_s, 0.0), RETRY_AFTER_MAX_S)


def _read_number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
