"""Conversations as shops have them, for whatever reads transcripts. All names are made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from timer_service.messages import Author
from timer_service.summarizers.base import Transcript, Turn

START_AT = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)

_AUTHORS = {"c": Author.CUSTOMER, "a": Author.AGENT, "b": Author.BOT, "s": Author.SYSTEM}


def transcript(*lines: str, customer_name: str | None = None) -> Transcript:
    """Build a transcript from lines like ``c: do you ship?`` or ``c[image]: look``.

    ``c`` is the customer, ``a`` an agent, ``b`` a bot, ``s`` WhatsApp itself. Ids are ``m1``,
    ``m2`` and so on, twenty seconds apart.
    """
    turns = []
    for number, line in enumerate(lines, start=1):
        head, _, text = line.partition(":")
        who, _, kind = head.partition("[")
        turns.append(
            Turn(
                message_id=f"m{number}",
                author=_AUTHORS[who],
                type=kind.rstrip("]") or "text",
                text=text.strip(),
                sent_at=START_AT + timedelta(seconds=20 * number),
            )
        )
    return Transcript(tuple(turns), customer_name=customer_name, business_name="Shop")


HAIFA_SHOES = transcript(
    "c: היי, ערב טוב",
    "b: שלום וברוכים הבאים לנעלי הכרמל! נציג יענה לכם בהקדם.",
    "c: ראיתי אצלכם באתר את סנדלי העור החומות",
    "c: יש לכם אותן במידה 38?",
    "a: היי דנה, ערב טוב",
    "a: רגע בודקת במלאי",
    'a: כן, נשאר זוג אחד במידה 38 בסניף חיפה. המחיר 289 ש"ח',
    "c: מעולה! אפשר לשמור לי אותן עד מחר?",
    "a: בטח, שמרתי לך אותן על שמך עד מחר בשעה 19:00",
    "a: אנחנו בשדרות הנשיא 12, פתוח מ-9:00",
    "c: מושלם, אגיע מחר אחרי העבודה",
    "c: תודה רבה 🙏",
    "a: בשמחה, ערב נעים!",
    customer_name="דנה לוי",
)

ENGLISH_KETTLE = transcript(
    "c: Hi there",
    "c: I ordered the glass kettle last week (order 4471) and it arrived with a crack in the lid",
    "c[image]:",
    "a: Hi Marcus, I'm so sorry about that!",
    "a: Let me check what we can do.",
    "a: We can send you a new lid free of charge, or refund the full £34.90. Which do you prefer?",
    "c: A new lid would be great. How long does delivery take?",
    "a: It takes 2 working days with Royal Mail.",
    "a: We'll ship it tomorrow morning and email you the tracking number.",
    "c: Perfect, thanks so much for the quick help!",
    "a: You're welcome, have a nice day!",
    customer_name="Marcus Webb",
)

JAKARTA_BATIK = transcript(
    "c: Halo kak, mau tanya dong",
    "c: kemeja batik yg motif parang masih ready ga ya? ukuran L",
    "a: Halo kak Rina 😊",
    "a: Masih ready kak, ukuran L sisa 3. Harganya Rp 185.000",
    "c: ongkir ke Depok brp kak?",
    "a: Ke Depok Rp 12.000 pake JNE reguler ya kak, estimasi 2 hari",
    "c: oke deh aku ambil 2 ya",
    "a: Siap kak, totalnya Rp 382.000. Bisa transfer ke BCA 123456 a.n. Toko Parang",
    "c: nanti malem aku transfer ya kak",
    "a: Baik kak, kalau sudah transfer besok pagi langsung kami kirim ya",
    "c: sip makasih kak",
    customer_name="Rina",
)
