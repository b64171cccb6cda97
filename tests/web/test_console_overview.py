"""The overview's numbers and plots."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import Shop, close_late
from timer_service import activity


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "KEPT_S", 0.0)


@pytest.fixture
def reader(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["viewer"])


def figures_of(source: str) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", source)
    return {words_of(name): words_of(value) for name, value in found}


def test_the_day_is_there_in_numbers_and_follows_what_happens(
    shop: Shop, reader: Reader, database_url: str
) -> None:
    empty = figures_of(reader.read(page_of(shop)))
    assert empty["Conversations begun"] == "0"
    assert empty["Median length"] == empty["Closing lateness: p50 · p99"] == "–"  # noqa: RUF001 - meant
    close_late(shop, database_url, late_ms=[3, 1, 40])
    shop.record(shop.connect(), "still here", customer_wa_id="972500000999")
    for path in (page_of(shop), f"{page_of(shop)}/activity"):
        shown = figures_of(reader.read(path))
        assert shown["Conversations begun"] == "4"
        assert shown["Closing lateness: p50 · p99"] == "3 ms · 40 ms"


def test_each_plot_has_words_and_a_table_with_its_numbers(shop: Shop, reader: Reader) -> None:
    shop.record(shop.connect(), "hello")
    source = reader.read(f"{page_of(shop)}/activity")
    plots = re.findall(r'<svg[^>]* role="img" aria-labelledby="(\S+) (\S+)"', source)
    assert len(plots) == 2
    for one in (name for names in plots for name in names):
        assert source.count(f'id="{one}"') == 1
    assert "Most at one time: 1. Now: 1." in words_of(source)
    assert "In 14 days: 1." in words_of(source)
    tables = re.findall(r"<tbody>(.*?)</tbody>", source)
    assert [table.count("<tr>") for table in tables] == [25, 14]
    assert re.findall(r"<td>(.*?)</td>", tables[0])[0] == "1"
    assert re.findall(r"<td>(.*?)</td>", tables[1])[0] == "1"
    assert "style=" not in source


def test_another_businesss_activity_is_not_there(
    shop: Shop, other_shop: Shop, reader: Reader
) -> None:
    other_shop.record(other_shop.connect(), "theirs")
    assert reader.open(f"{page_of(other_shop)}/activity").status_code == 404
    assert figures_of(reader.read(page_of(shop)))["Conversations begun"] == "0"
