"""The catalogues: whole, compiled, and in step with the pages. And the files of others."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from flask import Flask

from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import Shop
from timer_http.console.i18n import LANGUAGES, TRANSLATIONS

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "http" / "timer_http" / "static" / "vendor"
TRANSLATED = sorted(set(LANGUAGES) - {"en"})
_PLACEHOLDER = re.compile(r"%\((\w+)\)s")

AGREED = {
    "Active chats: %(count)s": ("שיחות פעילות: %(count)s", "Obrolan aktif: %(count)s"),
    "WhatsApp bot status": ("סטטוס בוט WhatsApp", "Status bot WhatsApp"),  # noqa: RUF001 - meant
    "Connected": ("מחובר", "Terhubung"),
    "Disconnected": ("מנותק", "Terputus"),
    "Waiting for QR": ("ממתין לסריקת QR", "Menunggu QR"),
    "Conversation": ("שיחה", "Percakapan"),
    "Conversations": ("שיחות", "Percakapan"),
    "Active": ("פעילה", "Aktif"),
    "Closed": ("הסתיימה", "Selesai"),
    "Closed: customer went quiet": (
        "הסתיימה: הלקוח הפסיק להגיב",
        "Selesai: pelanggan tidak membalas",
    ),
    "Closed by an agent": ("נסגרה על ידי נציג", "Ditutup oleh agen"),
    "Summary": ("סיכום", "Ringkasan"),
    "Asked for": ("ביקש", "Permintaan"),
    "Provided": ("נמסר", "Diberikan"),
    "Next steps": ("המשך טיפול", "Langkah berikutnya"),
    "Follow-up needed": ("נדרש המשך טיפול", "Perlu tindak lanjut"),
    "Summarise again": ("סכם מחדש", "Ringkas ulang"),
    "Close now": ("סיים עכשיו", "Tutup sekarang"),
    "Customer": ("לקוח", "Pelanggan"),
    "Agent": ("נציג", "Agen"),
    "Bot": ("בוט", "Bot"),
    "Idle time before closing": ("זמן ללא תגובה עד סגירה", "Waktu diam sebelum ditutup"),
}
"""The words every surface uses, Hebrew and Indonesian."""


def catalogue_of(code: str) -> Catalog:
    with (TRANSLATIONS / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=code)


def messages_of(catalogue: Catalog) -> dict[tuple[str | None, str], Message]:
    return {(one.context, one.id): one for one in catalogue if one.id}


def wanted_by_the_pages() -> set[tuple[str | None, str]]:
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = extract_from_dir(ROOT, methods, options)
    return {(context, message) for _, _, message, _, context in found}


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_catalogue_holds_exactly_what_the_pages_say(code: str) -> None:
    assert set(messages_of(catalogue_of(code))) == wanted_by_the_pages()


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_entry_is_translated_and_fills_in_the_same_values(code: str) -> None:
    for (_, source), message in messages_of(catalogue_of(code)).items():
        assert message.string, source
        assert not message.fuzzy, source
        assert sorted(_PLACEHOLDER.findall(source)) == sorted(_PLACEHOLDER.findall(message.string))


@pytest.mark.parametrize("code", TRANSLATED)
def test_the_compiled_catalogue_is_made_from_the_one_people_edit(code: str) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue_of(code))
    compiled.seek(0)
    with (TRANSLATIONS / code / "LC_MESSAGES" / "messages.mo").open("rb") as file:
        served = {(one.context, one.id): one.string for one in read_mo(file) if one.id}
    assert served == {(one.context, one.id): one.string for one in read_mo(compiled) if one.id}


@pytest.mark.parametrize(("place", "code"), [(0, "he"), (1, "id")])
def test_the_agreed_words_are_used(place: int, code: str) -> None:
    found = messages_of(catalogue_of(code))
    assert {source: found[None, source].string for source in AGREED} == {
        source: words[place] for source, words in AGREED.items()
    }


@pytest.mark.parametrize(("code", "name"), sorted(LANGUAGES.items()))
def test_every_language_can_be_chosen_on_every_page(
    app: Flask, shop: Shop, code: str, name: str
) -> None:
    reader = Reader.signed_in(app, shop.keys["viewer"])
    for path in ("/console/nowhere", f"{page_of(shop)}/conversations?state=closed"):
        source = reader.open(path).text
        address = re.search(rf'href="(\?[^"]*lang={code})"', source)
        assert address is not None
        assert name in words_of(source)
        assert ("state=closed" in address[1]) is ("state=closed" in path)


def test_files_of_others_are_those_their_table_names() -> None:
    table = (VENDOR / "README.md").read_text()
    rows = re.findall(
        r"^\| `([\w.]+)` \|.*, `(LICENSE-[\w.]+)` \| `([0-9a-f]{64})` \|", table, re.MULTILINE
    )
    assert {name for name, _, _ in rows} == {
        one.name for one in VENDOR.iterdir() if not one.name.startswith(("README", "LICENSE"))
    }
    for name, licence, digest in rows:
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert (VENDOR / licence).stat().st_size > 0
        assert b"sourceMappingURL" not in content
