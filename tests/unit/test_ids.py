"""Ids: sorted by the time they were made, short in Redis, and read back."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.ids import lengthen, new_id, shorten


def test_new_ids_sort_in_the_order_they_were_made() -> None:
    made = [new_id() for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == 5_000
    assert {one.version for one in made} == {7}


@given(st.uuids())
def test_a_short_id_is_read_back(value: UUID) -> None:
    short = shorten(value)
    assert len(short) == 22
    assert short.isascii()
    assert short.isalnum()
    assert lengthen(short) == value


@given(st.uuids(), st.uuids())
def test_short_ids_sort_as_the_ids_do(one: UUID, other: UUID) -> None:
    assert (shorten(one) < shorten(other)) is (one < other)


@given(st.text(max_size=30))
def test_anything_else_is_refused(text: str) -> None:
    try:
        value = lengthen(text)
    except ValueError:
        return
    assert shorten(value) == text


@pytest.mark.parametrize("text", ["", "0" * 21, "0" * 23, "z" * 22, "-" + "0" * 21, "é" * 22])
def test_wrong_length_letters_or_size_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - three reasons, one meaning
        lengthen(text)
