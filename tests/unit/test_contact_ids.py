"""A customer's id as people, providers and older clients write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.messages import ContactIds

PHONE, LID, BSUID = "972500000001", "111111111111111", "IL.10000000000000000001"


@pytest.mark.parametrize(
    "text",
    [
        PHONE, f"+{PHONE}", "+972 50-000-0001", "+972 (50) 000.0001", f" {PHONE} ",
        f"whatsapp:+{PHONE}", f"{PHONE}@s.whatsapp.net", f"{PHONE}@c.us", f"{PHONE}@hosted",
        f"{PHONE}:12@s.whatsapp.net", f"{PHONE}_1:12@s.whatsapp.net",
    ],
)  # fmt: skip
def test_a_phone_number_is_its_digits(text: str) -> None:
    assert ContactIds.parse(text) == ContactIds(phone=PHONE)


@pytest.mark.parametrize("text", [f"lid:{LID}", f"{LID}@lid", f"{LID}:3@lid", f"{LID}@hosted.lid"])
def test_a_hidden_id_is_kept_apart_from_numbers(text: str) -> None:
    assert ContactIds.parse(text) == ContactIds(lid=LID)


@pytest.mark.parametrize("text", [BSUID, f"bsuid:{BSUID}", "IL.ENT.abc123"])
def test_a_business_scoped_id_keeps_its_letters(text: str) -> None:
    assert ContactIds.parse(text) == ContactIds(bsuid=text.removeprefix("bsuid:"))


@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "12", "+", "1" * 21, "lid:", "lid:abc", "bsuid:", "bsuid:il.1", "@lid",
     f"{PHONE}@g.us", "status@broadcast", f"{PHONE}@newsletter", "97250" + 7 * "\u0660",
     "Robert'); DROP TABLE contacts;--"],
)  # fmt: skip
def test_what_is_no_customers_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|must end"):
        ContactIds.parse(text)


def test_the_best_id_is_the_phone_then_the_lid_then_the_bsuid() -> None:
    every = ContactIds(phone=PHONE, lid=LID, bsuid=BSUID)
    assert every.best == PHONE
    assert ContactIds(lid=LID, bsuid=BSUID).best == f"lid:{LID}"
    assert ContactIds(bsuid=BSUID).best == f"bsuid:{BSUID}"
    assert every.pairs() == [("phone", PHONE), ("lid", LID), ("bsuid", BSUID)]


digits = st.text("0123456789", min_size=4, max_size=20)


@given(
    st.one_of(
        st.builds(lambda value: ContactIds(phone=value), digits),
        st.builds(lambda value: ContactIds(lid=value), digits),
        st.builds(
            lambda value: ContactIds(bsuid=value),
            st.from_regex(r"[A-Z]{2}(\.ENT)?\.[A-Za-z0-9]{1,30}", fullmatch=True),
        ),
    )
)
def test_the_best_id_is_read_back_as_what_it_was(ids: ContactIds) -> None:
    assert ContactIds.parse(ids.best) == ids


@given(st.text())
def test_reading_never_fails_otherwise_than_by_refusing(text: str) -> None:
    try:
        ids = ContactIds.parse(text)
    except ValueError:
        return
    assert len(ids.pairs()) == 1
    assert ids.pairs()[0][1].isascii()
