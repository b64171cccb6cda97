"""Which conversations are worth a summary."""

from __future__ import annotations

import pytest

from tests.support.shop_conversations import (
    ENGLISH_KETTLE,
    HAIFA_SHOES,
    JAKARTA_BATIK,
    transcript,
)
from timer_service.summarizers import skip_reason


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("a: Your order is ready, come and get it",),
        ("c: hi",),
        ("c: Hiiii!! 😊",),
        ("c: hello", "c: hello?"),
        ("c: שלום",),
        ("c: היי, בוקר טוב",),
        ("c: halo kak",),
        ("c: P", "c: permisi gan"),
        ("c: thanks a lot 🙏",),
        ("c: סבבה תודה רבה",),
        ("c: ok sip makasih kak",),
        ("c: 👍",),
        ("c: blue",),
        ("c: 你好",),
        ("c:",),
        ("c[sticker]:",),
        ("c[unsupported]:", "c[sticker]:"),
        ("s: a customer joined and something long happened here",),
        ("c: hi", "b: Welcome to our shop! We are open from 9 to 17 every day."),
        ("c: hi", "a: Hi! How can I help you today?"),
        ("c: היי", "a: שלום, איך אפשר לעזור?"),
    ],
)
def test_nothing_said_is_too_short(lines):
    assert skip_reason(transcript(*lines)) == "too_short"


@pytest.mark.parametrize(
    "lines",
    [
        ("c: is the blue one in stock?",),
        ("c: hi, is the blue one in stock?",),
        ("c: price?",),
        ("c: harga kak?",),
        ("c: כמה?",),
        ("c: blue", "c: size 40"),
        ("c: red shoes",),
        ("c: 这个多少钱",),
        ("c: هل لديكم مقاس 42؟",),
        ("c[image]:",),
        ("c[voice]:",),
        ("c[location]:",),
        ("c[order]:",),
        ("c: hi", "a: Your parcel came back to us, shall we send it again?"),
        ("b: Your table is booked for eight, reply YES to confirm", "c: yes"),
        ("c: hi", "a[document]:"),
    ],
)
def test_something_said_is_worth_a_summary(lines):
    assert skip_reason(transcript(*lines)) is None


@pytest.mark.parametrize("talk", [HAIFA_SHOES, ENGLISH_KETTLE, JAKARTA_BATIK])
def test_real_conversations_are_worth_a_summary(talk):
    assert skip_reason(talk) is None
