"""Reads the chats WhatsApp exports as text ("Export chat", Android and iPhone).

`replay` and the demo call this. It knows 12- and 24-hour clocks, the three orders of a date and the
placeholders of English, Hebrew and Indonesian phones. It never guesses who is the business.
Source: exports of Android and iOS, 2019 to 2026; there is no specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path

from timer_service.errors import InvalidInput

EXPECTED = (
    "a WhatsApp chat export, whose lines begin like '31/12/2025, 23:59 - Dana: …' or "
    "'[31/12/2025, 23:59:59] Dana: …'"
)

_INVISIBLE = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufeff"))
_HEADER = re.compile(
    r"""
    (?P<bracket>\[)?
    (?P<date>(\d{4}|\d{1,2})(?P<mark>[./-])\d{1,2}(?P=mark)(\d{4}|\d{1,2}))\.?,?\s+
    (?P<hour>\d{1,2})[:.](?P<minute>\d{2})([:.](?P<second>\d{2}))?
    (\s?(?P<half>[AaPp]\.?\s?[Mm]\.?|לפנה["״]צ|אחה["״]צ))?
    (?(bracket)\]\s?|\s[-\u2013]\s)
    (?P<rest>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_AUTHOR = re.compile(r"(?:~\s?)?(?P<author>[^:]{1,100}):(?: (?P<text>.*))?", re.DOTALL)
_AFTERNOON = ("p", "אחה")
_EDITED = re.compile(
    r"\s*<(This message was edited|ההודעה נערכה|Pesan ini (telah )?diedit)>\s*$", re.IGNORECASE
)
_SYSTEM = re.compile(
    r"(messages and calls are end-to-end encrypted|messages to this (chat|group) .*end-to-end"
    r"|ההודעות והשיחות מוצפנות|ההודעות בצ'אט זה .*מוצפנות"
    r"|pesan dan (panggilan|telepon) (terenkripsi|dienkripsi)"
    r"|missed (voice|video) call|שיחה (קולית |וידאו )?שלא נענתה"
    r"|panggilan (suara|video) tak terjawab)",
    re.IGNORECASE,
)
_DELETED = re.compile(
    r"(this message was deleted|you deleted this message|(הודעה זו|ההודעה) נמחקה|מחקת הודעה זו"
    r"|pesan ini (telah )?dihapus|anda (telah )?menghapus pesan ini)\.?",
    re.IGNORECASE,
)
_LEFT_OUT = re.compile(
    r"<(media omitted|המדיה (לא נכללה|הוסרה|הושמטה)|media tidak disertakan)>"
    r"|(?P<what>[\w -]{2,20}) (?:omitted|הושמטה?|מושמטת?|tidak disertakan)",
    re.IGNORECASE,
)
_ATTACHED = re.compile(
    r"<(?:attached|צורף|מצורף|terlampir|lampiran): (?P<ios>[^>\n]+)>"
    r"|(?P<android>\S[^\n]{0,200}\.\w{2,5}) \((?:file attached|קובץ מצורף|file terlampir)\)",
    re.IGNORECASE,
)
# What phones call the kinds of media they leave out.
_LEFT_OUT_TYPES = (
    ("image", re.compile(r"image|photo|תמונה|gambar|foto", re.IGNORECASE)),
    ("video", re.compile(r"video|gif|סרטון|וידאו", re.IGNORECASE)),
    ("voice", re.compile(r"audio|voice|ptt|שמע|אודיו|קולית|suara", re.IGNORECASE)),
    ("sticker", re.compile(r"sticker|stiker|סטיקר|מדבקה", re.IGNORECASE)),
    ("contacts", re.compile(r"contact|kontak|איש קשר", re.IGNORECASE)),
    ("document", re.compile(r"document|file|מסמך|קובץ|dokumen", re.IGNORECASE)),
)
_FILE_TYPES = {
    **dict.fromkeys(("jpg", "jpeg", "png", "heic", "gif"), "image"),
    **dict.fromkeys(("mp4", "mov", "3gp"), "video"),
    **dict.fromkeys(("opus", "ogg", "m4a", "mp3", "aac", "amr"), "voice"),
    "webp": "sticker",
    "vcf": "contacts",
}
_ORDERS = {"ymd": (0, 1, 2), "dmy": (2, 1, 0), "mdy": (2, 0, 1)}
_YEAR_DIGITS = 4
_NOON = 12


@dataclass(frozen=True, slots=True)
class ExportedMessage:
    """One entry of an export.

    ``sent_at`` is the phone's local time read as UTC: exports name no zone, so only differences
    mean anything. ``type`` is ``text``, ``image``, ``video``, ``voice``, ``sticker``,
    ``document``, ``contacts``, ``media`` (left out, and the export does not say what), ``deleted``
    or ``system``. ``author`` is None only where WhatsApp itself speaks. ``line`` counts from 1.
    """

    line: int
    sent_at: datetime
    author: str | None
    type: str
    text: str
    file_name: str | None = None

    @property
    def is_said(self) -> bool:
        """Whether a person said it and it can still be read."""
        return self.type not in {"system", "deleted"}


@dataclass(frozen=True, slots=True)
class Export:
    """A parsed export; ``date_order`` is ``dmy``, ``mdy`` or ``ymd``, as found."""

    messages: tuple[ExportedMessage, ...]
    date_order: str

    @property
    def said(self) -> tuple[ExportedMessage, ...]:
        """The messages of people, without deleted ones and WhatsApp's own notices."""
        return tuple(message for message in self.messages if message.is_said)


@dataclass(slots=True)
class _Entry:
    line: int
    header: re.Match[str]
    more: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The three numbers of the date, in the order they stand there."""
        return tuple(map(int, self.header["date"].split(self.header["mark"])))


def read_export(path: Path) -> Export:
    """Read an export from a file.

    Raises:
        InvalidInput: it cannot be read, is not UTF-8 text, or is no export.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    if content.startswith(b"PK"):
        raise InvalidInput(f"{path} is a zip archive: unpack it and give the .txt inside")
    try:
        return parse_export(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8 text: expected {EXPECTED}") from None


def parse_export(text: str) -> Export:
    """Parse an export's text.

    Raises:
        InvalidInput: it is empty or no export; the message names the line, never its content.
    """
    entries = list(_entries(text))
    if not entries:
        raise InvalidInput(f"the file is empty: expected {EXPECTED}")
    order = _find_date_order(entries)
    return Export(tuple(_message(entry, order) for entry in entries), order)


def _entries(text: str) -> Iterator[_Entry]:
    """Gather each header line with the lines that continue it.

    A line in another style than the first is part of a message: chats get pasted into chats.
    """
    entry: _Entry | None = None
    style: object = None
    # Not splitlines(): a message may hold form feeds and U+2028, which end no line of an export.
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        line = raw.translate(_INVISIBLE).rstrip()
        header = _HEADER.fullmatch(line.lstrip())
        if header is not None and entry is None:
            style = _style(header)
        if header is not None and _style(header) == style:
            if entry is not None:
                yield entry
            entry = _Entry(number, header)
        elif entry is not None:
            entry.more.append(line)
        elif line:
            raise InvalidInput(f"line {number}: expected {EXPECTED}")
    if entry is not None:
        yield entry


def _style(header: re.Match[str]) -> tuple[bool, str, bool]:
    """Return what all headers of one export share."""
    is_year_first = header["date"][:_YEAR_DIGITS].isdecimal()
    return header["bracket"] is not None, header["mark"], is_year_first


def _find_date_order(entries: Sequence[_Entry]) -> str:
    """Tell how dates are written: by what is possible, then by what makes time run forwards.

    A chat leaves traces close together, so of two orders that both run forwards the one that
    covers less time is the right one. Where even that is equal, a 12-hour clock means America.
    """
    is_year_first = _style(entries[0].header)[2]
    candidates = possible = ["ymd"] if is_year_first else ["dmy", "mdy"]
    for entry in entries:
        possible = [order for order in possible if _date(entry.numbers, order) is not None]
        if not possible:
            raise InvalidInput(
                f"line {entry.line}: expected a date written as on the lines before it "
                f"({' or '.join(candidates)}: d day, m month, y year)"
            )
    return min(possible, key=lambda order: (*_wandering(entries, order), order != _habit(entries)))


def _wandering(entries: Sequence[_Entry], order: str) -> tuple[int, int]:
    """Count steps backwards in time, and all days walked."""
    dates = [day for entry in entries if (day := _date(entry.numbers, order)) is not None]
    steps = [(after - before).days for before, after in pairwise(dates)]
    return sum(step < 0 for step in steps), sum(map(abs, steps))


def _habit(entries: Sequence[_Entry]) -> str:
    is_american = entries[0].header["half"] is not None and "/" in entries[0].header["date"]
    return "mdy" if is_american else "dmy"


def _date(numbers: Sequence[int], order: str) -> date | None:
    year, month, day = (numbers[index] for index in _ORDERS[order])
    try:
        return date(year if year > 99 else 2000 + year, month, day)  # noqa: PLR2004
    except ValueError:
        return None


def _message(entry: _Entry, order: str) -> ExportedMessage:
    found = _AUTHOR.fullmatch(entry.header["rest"])
    author = found["author"].strip() if found else None
    said = (found["text"] or "") if found else entry.header["rest"]
    text = _EDITED.sub("", "\n".join([said, *entry.more]).strip())
    sent_at = _instant(entry, order)
    if author is None or _SYSTEM.match(text):
        return ExportedMessage(entry.line, sent_at, None, "system", text)
    if _DELETED.fullmatch(text):
        return ExportedMessage(entry.line, sent_at, author, "deleted", "")
    if attached := _ATTACHED.search(text):
        name = (attached["ios"] or attached["android"]).strip()
        caption = (text[: attached.start()] + text[attached.end() :]).strip()
        kind = _FILE_TYPES.get(name.rpartition(".")[2].lower(), "document")
        return ExportedMessage(entry.line, sent_at, author, kind, caption, name)
    left_out = _left_out_type(text)
    if left_out is not None:
        return ExportedMessage(entry.line, sent_at, author, left_out, "")
    return ExportedMessage(entry.line, sent_at, author, "text", text)


def _left_out_type(text: str) -> str | None:
    """Return the kind of media that ``image omitted`` and its like stand for, None for a text."""
    found = _LEFT_OUT.fullmatch(text)
    if found is None:
        return None
    what = found["what"]
    if what is None:
        return "media"
    return next((kind for kind, words in _LEFT_OUT_TYPES if words.search(what)), None)


def _instant(entry: _Entry, order: str) -> datetime:
    header = entry.header
    hour, minute, second = (int(header[name] or 0) for name in ("hour", "minute", "second"))
    if header["half"] and hour <= _NOON:
        hour = hour % _NOON + (_NOON if header["half"].lower().startswith(_AFTERNOON) else 0)
    day = _date(entry.numbers, order)
    try:
        if day is not None:
            return datetime.combine(day, time(hour, minute, second), UTC)
    except ValueError:
        pass
    raise InvalidInput(f"line {entry.line}: expected a time of day, such as 23:59 or 11:59 PM")
