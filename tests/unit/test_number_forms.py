"""One phone's number in its several forms, as Brazil, Argentina and Mexico write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.number_forms import common_form, other_form, typed_endings


@pytest.mark.parametrize(
    ("phone", "other"),
    [
        ("5511987654321", "551187654321"),  # Brazil: with its ninth digit, and without
        ("551187654321", "5511987654321"),
        ("5491123456789", "541123456789"),  # Argentina: with the mobile's 9, and without
        ("5215512345678", "525512345678"),  # Mexico: with the old 1, and without
        ("525512345678", "5215512345678"),
    ],
)
def test_another_form_of_a_number_is_known_by_it(phone: str, other: str) -> None:
    assert other_form(phone) == other
    assert common_form(phone) == common_form(other)


@pytest.mark.parametrize(
    "phone",
    [
        "541123456789",  # with a 9 it could be another's mobile
        "551133334444",  # a landline of Brazil
        "5511933334444",  # 9 and a landline's number
        "5501987654321",  # no area of Brazil
        "52155123456789",  # a digit too many
        "972500000001",
        "15215551234",
        "",
    ],
)
def test_any_other_number_has_one_form_only(phone: str) -> None:
    assert other_form(phone) is None


@given(st.sampled_from(["55", "54", "549", "52", "521", "1"]), st.text("0123456789", max_size=12))
def test_the_common_form_is_the_same_for_all_forms(country: str, rest: str) -> None:
    phone = country + rest
    assert common_form(common_form(phone)) == common_form(phone)
    other = other_form(phone)
    assert other != phone
    assert other is None or common_form(other) == common_form(phone)


@pytest.mark.parametrize(
    ("typed", "endings"),
    [
        ("+972 50-000-0001", ["972500000001"]),
        ("00972500000001", ["972500000001"]),
        ("050 000 0001", ["500000001"]),
        ("(0812) 3456.7890", ["81234567890"]),
        ("0001", ["0001"]),
        ("123", ["123"]),
        ("5511987654321", ["5511987654321", "551187654321"]),
        ("12", []),
        ("000", []),
        ("order 4580", []),
        ("४५८०", []),
        ("", []),
    ],
)
def test_a_typed_number_is_looked_for_by_how_it_ends(typed: str, endings: list[str]) -> None:
    assert typed_endings(typed) == endings
