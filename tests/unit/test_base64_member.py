"""A file in the middle of a JSON object, however the object is cut into parts."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service import base64_member
from timer_service.base64_member import NoFile, decode_member


def parts_of(document: bytes, at: list[int]) -> list[bytes]:
    ends = [0, *sorted(min(one, len(document)) for one in at), len(document)]
    return [document[a:b] for a, b in pairwise(ends)]


@given(
    st.binary(max_size=2000),
    st.lists(st.integers(0, 4000), max_size=12),
    st.sampled_from(["", "data:image/jpeg;base64,"]),
    st.text(max_size=20),
)
def test_it_comes_out_whole_wherever_the_object_is_cut(
    file: bytes, at: list[int], prefix: str, caption: str
) -> None:
    encoded = prefix + base64.b64encode(file).decode()
    document = json.dumps(
        {"mediaType": "image", "caption": caption, "base64": encoded, "buffer": None}
    ).encode()
    assert b"".join(decode_member(parts_of(document, at))) == file


def test_words_of_a_customer_do_not_look_like_a_file() -> None:
    document = json.dumps({"caption": '"base64":"AAAA"', "base64": "/w=="}).encode()
    assert b"".join(decode_member([document])) == b"\xff"


def test_escaped_strokes_are_strokes() -> None:
    assert b"".join(decode_member([b'{"base64":"\\/\\/\\/\\/"}'])) == b"\xff\xff\xff"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b'{"base64":null}',
        b'{"base64":"AAAA',
        b'{"base64":"AAA"}',
        b'{"base64":"A*AA"}',
        b'{"error": true}',
    ],
)
def test_what_is_no_whole_file_is_none(document: bytes) -> None:
    with pytest.raises(NoFile):
        b"".join(decode_member([document]))


def test_an_object_without_end_is_not_read_for_ever() -> None:
    read = 0

    def endless() -> object:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1024

    with pytest.raises(NoFile):
        list(decode_member(endless()))  # type: ignore[arg-type]
    assert read <= base64_member.MOST_BEFORE // 1024 + 2
