"""Guesses which language a text is written in: by its script, else by its function words.

Summarizers use it to write in the customer's language. It knows the languages our shops write in
and the large ones around them; it is a guess good enough for phrases and labels, nothing more.
"""

from __future__ import annotations

import re
from collections import Counter

from timer_service.summarizers.base import UNDETERMINED

_SCRIPTS = (
    # Kana and Hangul before Han: Japanese and older Korean mix Chinese characters in.
    ("ja", re.compile(r"[\u3040-\u30ff]+")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]+")),
    ("zh", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]+")),
    ("he", re.compile(r"[\u05d0-\u05ea]+")),
    ("ar", re.compile(r"[\u0620-\u064a\u066e-\u06d3]+")),
    ("ru", re.compile(r"[\u0400-\u04ff]+")),
    ("th", re.compile(r"[\u0e00-\u0e7f]+")),
    ("el", re.compile(r"[\u0370-\u03ff]+")),
    ("hi", re.compile(r"[\u0900-\u097f]+")),
    ("am", re.compile(r"[\u1200-\u137f]+")),
    ("hy", re.compile(r"[\u0530-\u058f]+")),
    ("ka", re.compile(r"[\u10a0-\u10ff]+")),
)
_LATIN_WORD = re.compile(r"[a-z\u00df-\u024f]+(?:'[a-z]+)?")
_UKRAINIAN_LETTER = re.compile(r"[іїєґ]")

_OTHER_SCRIPT_SHARE = 0.3
"""From this share of the letters on, another script outweighs even Latin function words."""

# Words that are frequent in one of these languages and rare in the others. Malay counts as
# Indonesian: a shop that reads one reads the other.
_FUNCTION_WORDS = {
    "en": (
        "the and is are was were you your i i'm it's to of for with have has do does did can "
        "could would will what when where how much this that not please thanks thank hello hi hey "
        "my we on in at it be an if just need want get yes from there any"
    ),
    "id": (
        "yang dan di ke dari ini itu ada apa berapa kapan dimana mana bagaimana gimana apakah "
        "bisa mau saya aku kami kita kamu anda nya tidak tdk gak ga nggak enggak ngga gk bukan "
        "belum sudah udah sdh dah akan untuk utk buat dengan dgn atau juga jg lagi lg kak kakak "
        "min gan sis bang mas mbak pak bu bos ya iya yg dong donk deh sih kok nih tuh nanti besok "
        "hari jam terima kasih makasih halo permisi pesan pesen beli harga barang kirim ongkir "
        "minta tolong kalau kalo klo kl boleh saja aja pakai pake sama sm baik siap selamat pagi "
        "siang sore malam banget bgt dulu masih stok warna ukuran awak nak boleh cik encik berapa "
        "tak"
    ),
    "es": (
        "el la los las un una de que y en es por para con no se lo su está tiene hola gracias "
        "cuánto cuanto cómo como cuándo dónde quiero puedo muy pero más sí mi usted favor buenos "
        "buenas días tardes hay"
    ),
    "pt": (
        "o os um uma de que e em é por para com não se seu está tem olá oi obrigado obrigada "
        "quanto como quando onde quero posso muito mas mais sim meu você bom boa dia tarde do da "
        "dos das vocês preço"
    ),
    "fr": (
        "le la les un une de des du que et en est pour avec pas ne ce je vous nous il elle "
        "bonjour merci combien comment quand où voudrais peux très mais plus oui mon votre avez "
        "sont dans sur au aux salut"
    ),
    "de": (
        "der die das ein eine und ist sind für mit nicht ich sie wir ihr es zu den dem von auf "
        "hallo danke bitte wieviel wie wann wo möchte kann sehr aber ja nein mein haben hat im "
        "guten tag morgen gibt noch auch"
    ),
}
_WORD_LANGUAGES: dict[str, tuple[str, ...]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in set(_words.split()):
        _WORD_LANGUAGES[_word] = (*_WORD_LANGUAGES.get(_word, ()), _language)


def detect_language(text: str) -> str:
    """Return a BCP 47 primary tag; Latin letters without evidence are ``en``, none ``und``."""
    guess = guess_language(text)
    if guess is None:
        return "en" if _LATIN_WORD.search(text.lower()) else UNDETERMINED
    return guess


def guess_language(text: str) -> str | None:
    """Return a BCP 47 primary tag, or None where the text gives no evidence."""
    text = text.lower()
    latin = _LATIN_WORD.findall(text)
    by_words = _guess_by_words(latin)
    by_script, letters = _guess_by_script(text)
    if not letters:
        return by_words
    share = letters / (letters + sum(map(len, latin)))
    # Brand names and sizes are Latin in every language, place names in an English message are not.
    return by_words if by_words and share < _OTHER_SCRIPT_SHARE else by_script


def _guess_by_script(text: str) -> tuple[str, int]:
    """Return the most used script's language and how many letters of it there are."""
    letters = {tag: sum(map(len, pattern.findall(text))) for tag, pattern in _SCRIPTS}
    letters["ja"] += letters["zh"] if letters["ja"] else 0
    tag = max(letters, key=lambda tag: letters[tag])
    is_ukrainian = tag == "ru" and _UKRAINIAN_LETTER.search(text)
    return "uk" if is_ukrainian else tag, letters[tag]


def _guess_by_words(words: list[str]) -> str | None:
    weights: Counter[str] = Counter()
    for word in words:
        languages = _WORD_LANGUAGES.get(word, ())
        for language in languages:
            # A word several languages share says less; integers keep ties exact.
            weights[language] += 12 // len(languages)
    if not weights:
        return None
    best = max(weights.values())
    # Ties go to the first language listed.
    return next(tag for tag in _FUNCTION_WORDS if weights[tag] == best)
