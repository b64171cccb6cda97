"""What files are, by their first bytes, and how they may be shown. Pure.

`uploads` asks what somebody hands over: WhatsApp takes these types and no others (source: WhatsApp
Cloud API, media, August 2026). `timer_http` asks how a file that a customer sent may be answered:
what a browser could run is never named as what it is.
"""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass

MB = 1024**2
ANYTHING = "application/octet-stream"
SNIFFED_BYTES = 4096
"""How much of a file `sniff` wants to see."""

_SHOWN = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp"}
    | {"audio/ogg", "audio/mpeg", "audio/mp4", "audio/aac", "audio/amr", "audio/wav", "audio/webm"}
    | {"video/mp4", "video/3gpp", "video/webm", "video/quicktime"}
)
_OFFICE = "application/vnd.openxmlformats-officedocument."
_OLD_OFFICE = {
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
}
_NEW_OFFICE = {
    "docx": f"{_OFFICE}wordprocessingml.document",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "pptx": f"{_OFFICE}presentationml.presentation",
}
_SAVED = frozenset(
    {"application/pdf", "text/plain", "text/csv", "text/vcard", "application/zip"}
    | set(_OLD_OFFICE.values())
    | set(_NEW_OFFICE.values())
)
_BEGINNINGS = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"....ftyp(?:M4A |M4B )", re.DOTALL), "audio/mp4"),
    (re.compile(rb"....ftyp3g[a-z0-9]", re.DOTALL), "video/3gpp"),
    (re.compile(rb"....ftyp(?:isom|iso[2-9]|mp4[12]|avc1|M4V |mmp4|MSNV|dash)", re.DOTALL),
     "video/mp4"),
    (re.compile(rb"OggS"), "audio/ogg"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), "audio/mpeg"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "audio/aac"),
    (re.compile(rb"#!AMR"), "audio/amr"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)  # fmt: skip
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_KINDS = {"image": "image", "video": "video", "audio": "audio"}
_MOST_BYTES = {"image": 5 * MB, "video": 16 * MB, "audio": 16 * MB, "document": 100 * MB}
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,80}/[a-z0-9][a-z0-9.+-]{0,80}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shown:
    """How a file is answered: as which type, and whether a browser may show it in a page."""

    mime_type: str
    is_inline: bool


def shown_as(mime_type: str | None) -> Shown:
    """Say how a file of a type that somebody claims may be answered."""
    essence = (mime_type or "").partition(";")[0].strip().lower()
    if essence in _SHOWN:
        return Shown(essence, is_inline=True)
    return Shown(essence if essence in _SAVED else ANYTHING, is_inline=False)


def sniff(beginning: bytes, file_name: str | None) -> str | None:
    """Return the type of a file that WhatsApp takes; None for any other.

    Office documents of one family begin alike, so of these the name decides.
    """
    for pattern, mime_type in _BEGINNINGS:
        if pattern.match(beginning):
            return mime_type
    suffix = (file_name or "").rpartition(".")[2].lower()
    if beginning.startswith(_OLE):
        return _OLD_OFFICE.get(suffix)
    if beginning.startswith(_ZIP):
        return _NEW_OFFICE.get(suffix)
    return "text/plain" if _is_text(beginning) else None


def kind_of(mime_type: str) -> str:
    """Return what WhatsApp calls a message with such a file."""
    return _KINDS.get(mime_type.partition("/")[0], "document")


def most_bytes_of(kind: str) -> int:
    """Return how large a file of a kind WhatsApp takes."""
    return _MOST_BYTES[kind]


def suffix_of(mime_type: str | None) -> str:
    """Return the ending a file of a type has by custom, with its dot; "" where there is none."""
    essence = (mime_type or "").partition(";")[0].strip().lower()
    if essence == "audio/ogg":
        return ".ogg"  # Python says .oga
    return mimetypes.guess_extension(essence) or "" if _TYPE.fullmatch(essence) else ""


def _is_text(beginning: bytes) -> bool:
    if not beginning or _CONTROL.search(beginning):
        return False
    try:
        beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(beginning) - 3  # a letter that is cut by the end
    return True
