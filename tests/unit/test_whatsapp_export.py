from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.errors import InvalidInput
from timer_service.whatsapp_export import Export, ExportedMessage, parse_export, read_export

LRM, RLM, NNBSP = "\u200e", "\u200f", "\u202f"


def only(text: str) -> ExportedMessage:
    (message,) = parse_export(text).messages
    return message


def said(text: str) -> ExportedMessage:
    """Parse one message's text within an Android export."""
    return only(f"31/12/2025, 23:59 - Dana: {text}")


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("31/12/2025, 23:59 - ", at(2025, 12, 31, 23, 59)),  # Android, 24 hours
        ("12/31/25, 11:59 PM - ", at(2025, 12, 31, 23, 59)),  # Android, United States
        (f"12/31/25, 11:59{NNBSP}PM - ", at(2025, 12, 31, 23, 59)),
        ("31.12.2025, 23:59 - ", at(2025, 12, 31, 23, 59)),  # Android, Hebrew
        ("31/12/25 23.59 - ", at(2025, 12, 31, 23, 59)),  # Android, Indonesian
        ("2025-12-31, 23:59 - ", at(2025, 12, 31, 23, 59)),  # Android, Canada
        ("2025-12-31, 11:59 p.m. - ", at(2025, 12, 31, 23, 59)),
        ("31/12/2025, 11:59 pm - ", at(2025, 12, 31, 23, 59)),  # Android, India
        ("[31/12/2025, 23:59:58] ", at(2025, 12, 31, 23, 59, 58)),  # iPhone
        (f"{LRM}[12/31/25, 11:59:58{NNBSP}PM] ", at(2025, 12, 31, 23, 59, 58)),
        ("[31.12.2025, 23:59:58] ", at(2025, 12, 31, 23, 59, 58)),  # iPhone, Hebrew
        (f"{RLM}[31.12.2025, 11:59:58 אחה״צ] ", at(2025, 12, 31, 23, 59, 58)),
        ("[31.12.2025, 11:59:58 לפנה״צ] ", at(2025, 12, 31, 11, 59, 58)),
        ("[31/12/25 23.59.58] ", at(2025, 12, 31, 23, 59, 58)),  # iPhone, Indonesian
        ("12/31/25, 12:00 AM - ", at(2025, 12, 31, 0, 0)),
        ("12/31/25, 12:05 PM - ", at(2025, 12, 31, 12, 5)),
    ],
)
def test_every_known_header_is_read(header: str, expected: datetime) -> None:
    message = only(f"{header}דנה לוי: שלום: מה נשמע?")
    assert message.sent_at == expected
    assert (message.author, message.text, message.type) == ("דנה לוי", "שלום: מה נשמע?", "text")


def test_lines_without_a_header_continue_the_message() -> None:
    first, second = parse_export(
        "\ufeff\r\n31/12/2025, 23:58 - Dana: two\r\n\r\nlines: of it\r\n"
        "31/12/2025, 23:59 - Shop: ok"
    ).messages
    assert first.text == "two\n\nlines: of it"
    assert (first.line, second.line) == (2, 5)


def test_other_line_separators_are_part_of_a_message() -> None:
    assert said("one\u2028two\x0cthree").text == "one\u2028two\x0cthree"


def test_a_chat_pasted_into_a_message_stays_part_of_it() -> None:
    (message,) = parse_export(
        "31/12/2025, 23:58 - Dana: look what they wrote\n[12/30/25, 8:00:00 PM] Shop: closed\n"
        "30.12.2025, 20:00 - Shop: closed"
    ).messages
    assert message.text.count("closed") == 2


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["13/1/26", "14/1/26"], "dmy"),  # no thirteenth month
        (["1/13/26", "1/14/26"], "mdy"),
        (["1/2/26", "13/2/26"], "dmy"),  # told by a later line
        (["2/1/26", "3/1/26", "1/2/26"], "dmy"),  # month first, time would run backwards
        (["1/30/26", "2/1/26", "2/2/26"], "mdy"),
        (["1/2/26", "1/3/26", "1/4/26"], "mdy"),  # three days, or three months
        (["1/2/26", "2/2/26", "3/2/26"], "dmy"),
        (["5/5/26"], "dmy"),
        (["2026/02/03"], "ymd"),
    ],
)
def test_the_order_of_a_date_is_found(dates: list[str], order: str) -> None:
    export = parse_export("\n".join(f"{date}, 10:00 - Dana: hi" for date in dates))
    assert export.date_order == order


def test_a_single_ambiguous_date_with_am_or_pm_is_american() -> None:
    assert parse_export("2/3/26, 10:00 PM - Dana: hi").date_order == "mdy"
    assert parse_export("2/3/26, 22:00 - Dana: hi").date_order == "dmy"
    assert parse_export("2.3.26, 10:00 PM - Dana: hi").date_order == "dmy"


def test_dates_that_fit_no_order_name_the_line() -> None:
    with pytest.raises(InvalidInput, match="line 3"):
        parse_export("13/1/26, 10:00 - Dana: hi\nmore\n1/13/26, 10:00 - Dana: hi")
    with pytest.raises(InvalidInput, match="line 1"):
        parse_export("31/02/2026, 10:00 - Dana: hi")


def test_a_time_that_is_none_names_the_line() -> None:
    with pytest.raises(InvalidInput, match=r"line 2.*time of day"):
        parse_export("13/1/26, 10:00 - Dana: hi\n13/1/26, 25:00 - Dana: hi")


@pytest.mark.parametrize(
    "line",
    [
        "Messages and calls are end-to-end encrypted. No one outside of this chat can read them.",
        "ההודעות והשיחות מוצפנות מקצה לקצה.",
        "Pesan dan panggilan terenkripsi secara end-to-end.",
    ],
)
def test_whatsapps_own_notices_are_nobodys_messages(line: str) -> None:
    android = only(f"31/12/2025, 23:59 - {line}")
    iphone = only(f"[31/12/2025, 23:59:59] Shop: {LRM}{line}")
    for message in (android, iphone):
        assert (message.type, message.author, message.is_said) == ("system", None, False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<Media omitted>", "media"),
        ("<המדיה לא נכללה>", "media"),
        ("<Media tidak disertakan>", "media"),
        (f"{LRM}image omitted", "image"),
        (f"{LRM}video omitted", "video"),
        (f"{LRM}GIF omitted", "video"),
        (f"{LRM}audio omitted", "voice"),
        (f"{LRM}sticker omitted", "sticker"),
        (f"{LRM}document omitted", "document"),
        (f"{LRM}Contact card omitted", "contacts"),
        (f"{RLM}התמונה הושמטה", "image"),
        ("הסרטון הושמט", "video"),
        ("הודעה קולית הושמטה", "voice"),
        ("gambar tidak disertakan", "image"),
        ("stiker tidak disertakan", "sticker"),
        ("This message was deleted", "deleted"),
        ("You deleted this message.", "deleted"),
        ("הודעה זו נמחקה", "deleted"),
        ("Pesan ini telah dihapus", "deleted"),
        ("all allergens omitted", "text"),
        ("biaya kirim tidak disertakan", "text"),
    ],
)
def test_a_placeholder_says_what_was_left_out(text: str, kind: str) -> None:
    message = said(text)
    assert message.type == kind
    assert message.text == (text if kind == "text" else "")
    assert message.is_said is (kind != "deleted")


@pytest.mark.parametrize(
    ("text", "kind", "name", "caption"),
    [
        ("IMG-20251231-WA0001.jpg (file attached)", "image", "IMG-20251231-WA0001.jpg", ""),
        ("PTT-20251231-WA0002.opus (file terlampir)", "voice", "PTT-20251231-WA0002.opus", ""),
        ("STK-1.webp (קובץ מצורף)", "sticker", "STK-1.webp", ""),
        (
            "price list.pdf (file attached)\nthe new one",
            "document",
            "price list.pdf",
            "the new one",
        ),
        (f"{LRM}<attached: 00000012-PHOTO-2025.jpg>", "image", "00000012-PHOTO-2025.jpg", ""),
        (f"this one? {LRM}<attached: 1-VIDEO.mp4>", "video", "1-VIDEO.mp4", "this one?"),
        (f"{RLM}<מצורף: 00000012-AUDIO.opus>", "voice", "00000012-AUDIO.opus", ""),
        ("<terlampir: 3-Dana.vcf>", "contacts", "3-Dana.vcf", ""),
    ],
)
def test_an_attachment_keeps_its_kind_name_and_caption(
    text: str, kind: str, name: str, caption: str
) -> None:
    message = said(text)
    assert (message.type, message.file_name, message.text) == (kind, name, caption)


def test_the_mark_of_an_edit_is_not_part_of_the_text() -> None:
    assert said(f"at 8 {LRM}<This message was edited>").text == "at 8"
    assert said("בשמונה <ההודעה נערכה>").text == "בשמונה"


def test_numbers_and_unknown_names_are_authors() -> None:
    assert only("31/12/2025, 23:59 - +972 50-000-0001: hi").author == "+972 50-000-0001"
    assert only(f"[31/12/2025, 23:59:59] ~{NNBSP}Dana: hi").author == "Dana"
    assert only("31/12/2025, 23:59 - Dana:").text == ""


@pytest.mark.parametrize("text", ["", "\n \n", "\ufeff"])
def test_an_empty_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        parse_export(text)


def test_other_text_is_refused_by_line_and_never_quoted() -> None:
    with pytest.raises(InvalidInput, match="line 2: expected a WhatsApp chat export") as raised:
        parse_export("\nmy private diary")
    assert "diary" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"PK\x03\x04...", "zip"), (b"\xff\xfe1\x00", "not UTF-8"), (b"", "empty")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "chat.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=reason):
        read_export(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        read_export(tmp_path / "chat.txt")


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for whole in (text, f"31/12/2025, 23:59 - Dana: {text}", f"[1/1/25, 1:00:00 AM] {text}"):
        with suppress(InvalidInput):
            assert parse_export(whole).messages


STYLES = {
    "android": "%d/%m/%Y, %H:%M - ",
    "american": "%m/%d/%y, %I:%M %p - ",
    "iphone": "[%d.%m.%Y, %H:%M:%S] ",
    "indonesian": "%d/%m/%y %H.%M - ",
    "canadian": "%Y-%m-%d, %I:%M %p - ",
}
PLAIN = st.text(alphabet="abcdefgh שלוםברכה 0123?!,.\n🙏", min_size=1, max_size=40)


@given(
    style=st.sampled_from(sorted(STYLES)),
    start=st.datetimes(datetime(2016, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001
    entries=st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["Dana", "דנה לוי"]), PLAIN),
        min_size=1,
        max_size=12,
    ),
)
def test_what_a_phone_writes_is_read_back(
    style: str, start: datetime, entries: list[tuple[int, str, str]]
) -> None:
    """Minutes up to a few hours apart, so that one order of the date keeps them closest."""
    now = start.replace(second=0, microsecond=0, tzinfo=UTC)
    expected, lines = [], []
    for minutes, author, text in entries:
        now += timedelta(minutes=minutes)
        lines.append(f"{now.strftime(STYLES[style])}{author}: {text}")
        # A line's trailing blanks are lost; nothing else is.
        expected.append((now, author, "\n".join(map(str.rstrip, text.split("\n"))).strip()))
    # One day beyond the twelfth settles the order, as any longer chat does.
    late = now.replace(day=28) + timedelta(days=31)
    late = late.replace(day=28)
    lines.append(f"{late.strftime(STYLES[style])}Dana: bye")
    export: Export = parse_export("\n".join(lines))
    read = [(one.sent_at, one.author, one.text) for one in export.messages]
    assert read == [*expected, (late, "Dana", "bye")]
