"""What files are by their first bytes, whatever they are called."""

from __future__ import annotations

import pytest

from timer_service.file_types import kind_of, most_bytes_of, shown_as, sniff, suffix_of

TAKEN = [
    (b"\xff\xd8\xff\xe0\0", "a.png", "image/jpeg", "image"),
    (b"\x89PNG\r\n\x1a\n\0", None, "image/png", "image"),
    (b"\0\0\0\x20ftypisom", "a.mp4", "video/mp4", "video"),
    (b"\0\0\0\x20ftyp3gp4", "a.3gp", "video/3gpp", "video"),
    (b"\0\0\0\x20ftypM4A ", "a.m4a", "audio/mp4", "audio"),
    (b"OggS\0\x02", "a.ogg", "audio/ogg", "audio"),
    (b"ID3\x03", "a.mp3", "audio/mpeg", "audio"),
    (b"\xff\xfb\x90\0", "a.mp3", "audio/mpeg", "audio"),
    (b"\xff\xf1\x50\x80", "a.aac", "audio/aac", "audio"),
    (b"#!AMR\n", "a.amr", "audio/amr", "audio"),
    (b"%PDF-1.7\n", "offer", "application/pdf", "document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.DOC", "application/msword", "document"),
    (b"PK\x03\x04", "a.xlsx",
     "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "document"),
    ("שלום".encode(), "a.txt", "text/plain", "document"),
    ("שלום".encode()[:-1], "a.csv", "text/plain", "document"),
    (b"<html><script>", "a.html", "text/plain", "document"),
]  # fmt: skip
NOT_TAKEN = [
    (b"", "a.txt"), (b"MZ\x90\0", "a.jpg"), (b"\x7fELF\x02", "a.pdf"), (b"PK\x03\x04", "a.zip"),
    (b"PK\x03\x04", "a.apk"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.msi"), (b"GIF89a\0", "a.gif"),
    (b"text\0with a zero", "a.txt"), (b"\xe9t\xe9 latin-1 and more", "a.txt"),
    (b"\0\0\0\x20ftypheic", "a.heic"), (b"RIFF\x10\0\0\0WEBPVP8 ", "a.webp"),
]  # fmt: skip


@pytest.mark.parametrize(("beginning", "name", "mime_type", "kind"), TAKEN)
def test_what_whatsapp_takes_is_known_by_its_beginning(
    beginning: bytes, name: str | None, mime_type: str, kind: str
) -> None:
    assert sniff(beginning, name) == mime_type
    assert kind_of(mime_type) == kind
    assert most_bytes_of(kind) > 0
    assert shown_as(mime_type).mime_type == mime_type


@pytest.mark.parametrize(("beginning", "name"), NOT_TAKEN)
def test_what_it_does_not_take_is_refused_whatever_its_name(beginning: bytes, name: str) -> None:
    assert sniff(beginning, name) is None


@pytest.mark.parametrize(
    ("mime_type", "suffix"),
    [
        ("image/jpeg", ".jpg"),
        ("audio/ogg; codecs=opus", ".ogg"),
        ("application/pdf", ".pdf"),
        ("x/../../y", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_endings_are_those_of_custom(mime_type: str | None, suffix: str) -> None:
    assert suffix_of(mime_type) == suffix
