"""Local numbers are read by the business's country; others are left as they are."""

from __future__ import annotations

import pytest

from timer_service.errors import InvalidInput
from timer_service.messages import ContactIds
from timer_service.phone_numbers import read_customer


@pytest.mark.parametrize(
    ("text", "country", "phone"),
    [
        ("0812 3456 7890", "ID", "6281234567890"),
        ("08123456789", "ID", "628123456789"),
        ("050-000-0001", "IL", "972500000001"),
        ("00972500000001", "IL", "972500000001"),
        ("07911 123456", "GB", "447911123456"),
        ("06 698 12345", "IT", "390669812345"),
    ],
)
def test_a_local_number_becomes_international(text: str, country: str, phone: str) -> None:
    assert read_customer(text, country) == ContactIds(phone=phone)


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("972500000001", "ID"),
        ("5491123456789", "AR"),
        ("5511987654321", "BR"),
        ("551187654321", "BR"),
        ("5215512345678", "MX"),
        ("0812345678", None),
        ("081234", "XX"),
    ],
)
def test_a_number_with_its_country_or_without_ours_is_not_rewritten(
    text: str, country: str | None
) -> None:
    assert read_customer(text, country) == ContactIds(phone=text)


def test_other_ids_have_no_country() -> None:
    assert read_customer("lid:0811111111", "ID") == ContactIds(lid="0811111111")
    assert read_customer("IL.1234", "IL") == ContactIds(bsuid="IL.1234")


def test_what_is_no_id_names_the_field_and_never_the_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_customer("Dana Levi", "IL", field="messages.3.customer_wa_id")
    assert caught.value.field == "messages.3.customer_wa_id"
    assert "Dana" not in str(caught.value)
