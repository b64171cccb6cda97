"""The digest of a file, however an engine writes bytes in JSON."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from timer_service.providers.waproto_content import read_content

DIGEST = bytes(range(32))


@pytest.mark.parametrize(
    "written",
    [
        base64.b64encode(DIGEST).decode(),
        {"type": "Buffer", "data": list(DIGEST)},
        {str(at): byte for at, byte in enumerate(DIGEST)},
    ],
)
def test_it_is_read_in_each_of_its_writings(written: Any) -> None:
    for name in ("fileSha256", "fileSHA256"):
        content = read_content("imageMessage", {name: written}, {})
        assert content.media is not None
        assert content.media.sha256 == DIGEST.hex()


@pytest.mark.parametrize(
    "written",
    [
        None, "", "AAAA", "not base64!", 7, [1, 2], {}, {"0": 0, "1": 1}, {"data": [256] * 32},
        {"data": ["1"] * 32}, {"data": [True] * 32}, {str(at): None for at in range(32)},
        {str(at + 1): 1 for at in range(32)},
    ],
)  # fmt: skip
def test_what_is_none_is_left_out(written: Any) -> None:
    content = read_content("imageMessage", {"fileSha256": written, "mimetype": "image/jpeg"}, {})
    assert content.media is not None
    assert content.media.sha256 is None
