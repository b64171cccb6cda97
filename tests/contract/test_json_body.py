from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from timer_service.errors import MalformedPayload
from timer_service.messages import ContactIds
from timer_service.providers.baileys import PROVIDER as BAILEYS
from timer_service.providers.base import ParseContext, Provider, WebhookRequest
from timer_service.providers.json_body import (
    as_contact_ids,
    as_id,
    as_instant,
    as_plain,
    as_text,
    read_json,
)
from timer_service.providers.meta import PROVIDER as META
from timer_service.providers.waha import PROVIDER as WAHA

MALFORMED = {
    "empty": b"",
    "no JSON": b"event=1",
    "cut off": b'{"entry": [',
    "two documents": b"{} {}",
    "a string": b'"text"',
    "a number": b"7",
    "null": b"null",
    "NaN": b"NaN",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lists too deep": b"[" * 200_000,
    "objects too deep": b'{"a":' * 200_000,
    "closed and too deep": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize(
    "provider", [META, BAILEYS, WAHA], ids=lambda provider: provider.name.value
)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_cannot_be_parsed_is_malformed_and_the_error_quotes_nothing(
    provider: Provider, body: bytes
) -> None:
    with pytest.raises(MalformedPayload) as caught:
        provider.parse(WebhookRequest(body=body), ParseContext())
    assert len(str(caught.value)) < 100


def test_a_byte_order_mark_and_odd_numbers_are_read() -> None:
    body = '\ufeff{"nan": NaN, "inf": -Infinity, "big": 1e999, "huge": %s, "n": 12.5}'
    document = read_json((body % ("9" * 5_000)).encode())
    assert document == {"nan": None, "inf": None, "big": None, "huge": None, "n": 12.5}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a\x00b", "ab"),
        ("\ud83d", ""),
        ("x\udc00y", "xy"),
        ("\ud83d\ude00", ""),
        ("😀", "😀"),
        (None, ""),
        (5, ""),
        (["a"], ""),
    ],
)
def test_text_comes_out_storable(written: Any, text: str) -> None:
    assert as_text(written) == text


def test_text_is_cut_by_characters() -> None:
    assert as_text("😀" * 10, limit=3) == "😀😀😀"


@pytest.mark.parametrize("value", ["", "  ", "i" * 256, "a\x00", "\ud800", 5, None, {}])
def test_what_is_no_id_is_never_repaired_into_one(value: Any) -> None:
    assert as_id(value) is None


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ({"low": 1767261720, "high": 0, "unsigned": True}, datetime(2026, 1, 1, 10, 2, tzinfo=UTC)),
        ({"low": -1, "high": 411}, datetime(2026, 1, 27, 15, 8, 45, 951_000, tzinfo=UTC)),
        (1767261720.5, datetime(2026, 1, 1, 10, 2, 0, 500_000, tzinfo=UTC)),
        ({"low": 1767261720, "high": None}, None),
        ({"low": True, "high": 0}, None),
        ({"low": 0, "high": 10**19}, None),
        (253_402_300_800_000, None),
        (1_230_767_999, None),
        ("1" * 21, None),
    ],
)
def test_times_are_read_in_every_way_they_are_written(
    written: Any, instant: datetime | None
) -> None:
    assert as_instant(written) == instant


@pytest.mark.parametrize(
    "value",
    ["9" * 21 + "@c.us", "9" * 21, "lid:" + "1" * 21, "1" * 21 + "@lid", "123@lid", 5, None],
)
def test_an_id_of_absurd_length_names_nobody(value: Any) -> None:
    assert as_contact_ids(value) == ContactIds()


def test_a_copy_for_storage_is_bounded_in_depth_breadth_and_length() -> None:
    deep: Any = "end"
    for _ in range(50):
        deep = {"a": deep}
    assert as_plain(deep) == {"a": {"a": {"a": {"a": {}}}}}
    assert len(as_plain(list(range(1_000)))) == 30  # type: ignore[arg-type]
    assert as_plain({"k\x00": "v\x00" + "w" * 5_000}) == {"k": "v" + "w" * 2_046}
