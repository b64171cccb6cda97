"""The forms one phone's number is written in, where WhatsApp and its country differ.

For finding a customer who is known already, by `records.contacts` and by whoever looks one up. What
is stored, shown and answered is always the form that came: never one made here.

Source: providers' wire formats, section 7 (August 2026); Chatwoot's phone normalisers.
"""

from __future__ import annotations

import re

_BRAZIL_LONG = re.compile(r"(55[1-9][1-9])9([6-9]\d{7})")
_BRAZIL_SHORT = re.compile(r"(55[1-9][1-9])([6-9]\d{7})")
_ARGENTINA_MOBILE = re.compile(r"549(\d{10})")
_MEXICO_OLD = re.compile(r"521([2-9]\d{9})")
_MEXICO = re.compile(r"52([2-9]\d{9})")
_TYPED_NUMBER = re.compile(r"[\d\s+()./-]+", re.ASCII)
_SHORTEST_ENDING = 3


def common_form(phone: str) -> str:
    """Return the form that all forms of a number have in common: the same for each of them.

    ``5511987654321`` and ``551187654321``, ``5491123456789`` and ``541123456789``,
    ``5215512345678`` and ``525512345678`` are one number; any other is its own form.
    """
    for pattern, common in (
        (_BRAZIL_LONG, r"\1\2"),
        (_ARGENTINA_MOBILE, r"54\1"),
        (_MEXICO_OLD, r"52\1"),
    ):
        if match := pattern.fullmatch(phone):
            return match.expand(common)
    return phone


def other_form(phone: str) -> str | None:
    """Return the other form in which the phone of a message may be known, None if there is none.

    Of an Argentine number only the one without its 9: with a 9 added it could be somebody else's.
    """
    common = common_form(phone)
    if common != phone:
        return common
    if match := _BRAZIL_SHORT.fullmatch(phone):
        return match.expand(r"\g<1>9\2")
    if match := _MEXICO.fullmatch(phone):
        return match.expand(r"521\1")
    return None


def typed_endings(typed: str) -> list[str]:
    """Return how the number somebody types ends; nothing where it is no number.

    Of ``050-000 0001`` and of ``+972 50-000-0001`` it is what remains without the zeros that stand
    for a country or a way out of one; of a few last digits it is those. Another form of a whole
    number is an ending too.
    """
    if not _TYPED_NUMBER.fullmatch(typed):
        return []
    digits = re.sub(r"\D", "", typed)
    ending = digits.lstrip("0")
    if len(digits) < _SHORTEST_ENDING or not ending:
        return []
    if len(ending) < _SHORTEST_ENDING:
        return [digits]
    form = other_form(ending)
    return [ending, form] if form else [ending]
