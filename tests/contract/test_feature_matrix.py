"""The page that says what works by which gateway says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from timer_service import service_window
from timer_service.messages import ProviderName
from timer_service.providers import SENDERS

PAGE = Path(__file__).parents[2] / "docs" / "providers" / "README.md"
COLUMNS = ["meta", "twilio", "waha", "baileys"]


def rows() -> dict[str, dict[str, str]]:
    """Return the page's rows: ``{"send `audio`": {"meta": "yes", "waha": "no", …}}``."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 1 + len(COLUMNS):
            found[cells[0]] = dict(zip(COLUMNS, cells[1:], strict=True))
    return found


@pytest.mark.parametrize("provider", list(SENDERS))
def test_what_can_be_sent_is_what_the_page_says(provider: ProviderName) -> None:
    page, sender = rows(), SENDERS[provider]

    def says(row: str) -> bool:
        return page[row][provider.value] == "yes"

    for kind in ("image", "video", "document", "audio"):
        assert says(f"send `{kind}`") is (kind in sender.takes.media), kind
    assert says("send `template`") is bool(sender.takes.template)
    for kind in ("phone", "lid", "bsuid"):
        assert says(f"to a `{kind}`") is (kind in sender.takes.ids), kind
    longest = sender.takes.longest_text
    assert page["longest text"][provider.value] == ("" if longest is None else str(longest))
    assert page["pace"][provider.value] == f"{sender.pace.per_s:g}/s"
    has_window = page["service window"][provider.value] == "24 h"
    assert has_window is (provider in service_window.PROVIDERS)
