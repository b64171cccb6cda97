"""Guessing a language from what people type into a chat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.summarizers.language import detect_language, guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("היי, יש לכם את זה בכחול?", "he"),
        ("אני רוצה iPhone 15 Pro Max 256GB Natural Titanium", "he"),
        ("Hi, do you deliver to רמת גן?", "en"),
        ("مرحبا، هل لديكم مقاس 42؟", "ar"),
        ("Здравствуйте, сколько стоит доставка?", "ru"),
        ("Добрий день, є в наявності?", "uk"),
        ("ร้านเปิดกี่โมงคะ", "th"),
        ("这个多少钱", "zh"),
        ("このシャツの在庫はありますか", "ja"),
        ("이거 재고 있나요?", "ko"),
        ("Έχετε το μέγεθος 38;", "el"),
        ("नमस्ते, क्या यह उपलब्ध है?", "hi"),
        ("hi, is the blue one in stock?", "en"),
        ("Do you ship to Leeds and how much is it", "en"),
        ("halo kak, ini masih ready ga ya? ongkirnya brp", "id"),
        ("gan barangnya udah dikirim blm? kok lama bgt", "id"),
        ("Apakah toko buka hari ini?", "id"),
        ("Boleh saya tahu berapa harga ini?", "id"),
        ("Hola, ¿cuánto cuesta el envío?", "es"),
        ("Olá, vocês têm este em azul? obrigado", "pt"),
        ("Bonjour, est-ce que vous avez la taille 38 ?", "fr"),
        ("Hallo, haben Sie das auch in Größe 38? danke", "de"),
        ("xkcd brrt", "en"),
        ("👍 12", "und"),
        ("", "und"),
    ],
)
def test_the_language_of_a_message(text, language):
    assert detect_language(text) == language


def test_a_brand_name_in_latin_letters_is_no_evidence():
    assert guess_language("Adidas Samba 42") is None


@given(st.text())
def test_any_text_gets_a_tag(text):
    assert 2 <= len(detect_language(text)) <= 3


@given(st.text(alphabet="אבגדהוזחטיכלמנסעפצקרשת ", min_size=5).filter(str.strip), st.integers())
def test_hebrew_stays_hebrew_whatever_numbers_stand_in_it(text, number):
    assert detect_language(f"{text} {number}") == "he"
