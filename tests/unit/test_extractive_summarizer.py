"""The summarizer without a network, read as a shopkeeper would read it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.shop_conversations import (
    ENGLISH_KETTLE,
    HAIFA_SHOES,
    JAKARTA_BATIK,
    transcript,
)
from timer_service.messages import Author
from timer_service.summarizers import ExtractiveSummarizer, SummaryContent, Transcript
from timer_service.summarizers.sentences import rank_sentences, split_sentences


def summarise(*lines: str, customer_name: str | None = None) -> SummaryContent:
    talk = transcript(*lines, customer_name=customer_name)
    return ExtractiveSummarizer().summarize(talk).content


def test_a_hebrew_conversation_reads_like_a_colleagues_note():
    content = ExtractiveSummarizer().summarize(HAIFA_SHOES).content
    assert content.model_dump() == {
        "text": (
            'הלקוח שאל: "ראיתי אצלכם באתר את סנדלי העור החומות. יש לכם אותן במידה 38? '
            'אפשר לשמור לי אותן עד מחר?" העסק ענה: "כן, נשאר זוג אחד במידה 38 בסניף חיפה." '
            'בהמשך, הלקוח: "מושלם, אגיע מחר אחרי העבודה"'
        ),
        "title": "יש לכם אותן במידה 38?",
        "customer": "דנה לוי",
        "asked_for": (
            "ראיתי אצלכם באתר את סנדלי העור החומות. יש לכם אותן במידה 38? "
            "אפשר לשמור לי אותן עד מחר?"
        ),
        "provided": "כן, נשאר זוג אחד במידה 38 בסניף חיפה.",
        "next_steps": (
            "העסק: בטח, שמרתי לך אותן על שמך עד מחר בשעה 19:00. הלקוח: מושלם, אגיע מחר אחרי העבודה."
        ),
        "follow_up": None,
        "language": "he",
        "sentiment": "positive",
    }


def test_an_english_complaint_leads_with_the_complaint_and_keeps_the_promise():
    content = ExtractiveSummarizer().summarize(ENGLISH_KETTLE).content
    assert content.text.startswith("The customer wrote: “I ordered the glass kettle last week")
    assert "crack in the lid” The shop answered: “We can send you a new lid" in content.text
    assert content.text.endswith(
        "Next, the shop: “We'll ship it tomorrow morning and email you the tracking number.”"
    )
    assert content.title.startswith("I ordered the glass kettle")
    assert content.provided is not None
    assert "£34.90" in content.provided
    assert content.next_steps == (
        "Shop: We'll ship it tomorrow morning and email you the tracking number."
    )
    assert content.follow_up == (
        "Keep what was promised: We'll ship it tomorrow morning and email you the tracking number."
    )
    assert (content.language, content.sentiment) == ("en", "mixed")


def test_informal_indonesian_is_understood():
    content = ExtractiveSummarizer().summarize(JAKARTA_BATIK).content
    assert content.title == "Kemeja batik yg motif parang masih ready ga ya?"
    assert content.asked_for == "kemeja batik yg motif parang masih ready ga ya? ukuran L"
    assert content.provided == "Masih ready kak, ukuran L sisa 3. Harganya Rp 185.000"
    assert content.next_steps == (
        "Pelanggan: oke deh aku ambil 2 ya. Pelanggan: nanti malem aku transfer ya kak. "
        "Toko: Baik kak, kalau sudah transfer besok pagi langsung kami kirim ya."
    )
    assert content.text.startswith("Pelanggan menanyakan: “kemeja batik")
    assert "Toko menjawab: “Masih ready kak" in content.text
    assert (content.language, content.customer) == ("id", "Rina")


@pytest.mark.parametrize("talk", [HAIFA_SHOES, ENGLISH_KETTLE, JAKARTA_BATIK])
def test_it_says_what_it_read_and_that_no_model_was_asked(talk):
    result = ExtractiveSummarizer().summarize(talk)
    assert result.message_ids == tuple(turn.message_id for turn in talk.turns)
    assert (result.summarizer, result.model, result.tokens) == ("extractive", None, None)
    assert result.dropped_turns == 0


@pytest.mark.parametrize(
    ("question", "waiting", "task"),
    [
        (
            "is the blue one in stock?",
            "The customer is still waiting for an answer.",
            "Answer the customer: is the blue one in stock?",
        ),
        (
            "יש את זה בכחול?",
            "הלקוח עדיין מחכה לתשובה.",
            "לענות ללקוח: יש את זה בכחול?",
        ),
        (
            "yang biru masih ada gak?",
            "Pelanggan masih menunggu jawaban.",
            "Jawab pelanggan: yang biru masih ada gak?",
        ),
    ],
)
def test_an_unanswered_question_becomes_a_task(question, waiting, task):
    content = summarise(f"c: {question}")
    assert question in content.text
    assert content.text.endswith(waiting)
    assert content.follow_up == task
    assert content.provided is None


@pytest.mark.parametrize(
    "business",
    [
        "b: Thanks for contacting Leeds Bicycles! We will reply shortly.",
        "a: Hi!",
        "a: Let me check for you",
    ],
)
def test_a_greeting_or_a_let_me_check_is_no_answer(business):
    content = summarise("c: Do you deliver to Leeds?", business)
    assert content.follow_up == "Answer the customer: Do you deliver to Leeds?"


def test_a_bare_yes_is_an_answer():
    content = summarise("c: Do you deliver to Leeds?", "a: Yes", "c: great thanks")
    assert content.provided == "Yes"
    assert content.follow_up is None


def test_an_answer_that_is_also_the_next_step_is_told_once():
    content = summarise("c: I need help with order 12345", "a: Order 12345 will arrive on Friday.")
    assert content.provided == "Order 12345 will arrive on Friday."
    assert content.next_steps == "Shop: Order 12345 will arrive on Friday."
    assert content.text == (
        "The customer wrote: “I need help with order 12345” "
        "The shop answered: “Order 12345 will arrive on Friday.”"
    )


def test_let_me_check_is_forgotten_once_the_answer_came():
    content = summarise(
        "c: Do you have the red mug?", "a: Let me check the store room", "a: We have four red mugs"
    )
    assert content.next_steps is None
    assert content.follow_up is None
    assert content.provided == "We have four red mugs"


@pytest.mark.parametrize(
    ("lines", "follow_up"),
    [
        (
            ("c: when is the repair ready?", "a: We will call you on Sunday about the repair."),
            "Keep what was promised: We will call you on Sunday about the repair.",
        ),
        (
            ("c: מתי השעון יהיה מוכן?", "a: נתקשר אלייך ביום ראשון לגבי השעון"),
            "לקיים את מה שהובטח: נתקשר אלייך ביום ראשון לגבי השעון",
        ),
        (
            ("c: kapan jamnya selesai diservis kak?", "a: nanti kami kabari hari senin ya kak"),
            (
                "Jawab pelanggan: kapan jamnya selesai diservis kak? "
                "Tepati yang sudah dijanjikan: nanti kami kabari hari senin ya kak"
            ),
        ),
    ],
)
def test_a_promise_becomes_a_task(lines, follow_up):
    assert summarise(*lines).follow_up == follow_up


@pytest.mark.parametrize(
    ("lines", "sentiment"),
    [
        (("c: where is my order?", "a: on its way"), "neutral"),
        (("c: I love the mug, it's beautiful",), "positive"),
        (("c: this is unacceptable, still waiting for my order",), "negative"),
        (("c: I am not happy with the colour at all",), "negative"),
        (("c: the mug arrived broken", "a: here is a new one", "c: perfect 😊"), "mixed"),
        (("c: אני ממש מאוכזב מהשירות שלכם",), "negative"),
        (("c: אני לא מרוצה מהמוצר בכלל",), "negative"),
        (("c: kecewa banget, barangnya rusak",), "negative"),
        (("c: barangnya bagus banget kak, puas",), "positive"),
    ],
)
def test_the_customers_mood(lines, sentiment):
    assert summarise(*lines).sentiment == sentiment


def test_the_shops_own_cheer_is_not_the_customers_mood():
    content = summarise("c: where is my order 4471?", "a: Great question! Awesome, it left today")
    assert content.sentiment == "neutral"


def test_what_the_customer_opens_with_belongs_to_what_they_want():
    content = summarise(
        "c: I bought the walnut dining table from your Leeds store",
        "a: Hello, how can we help?",
        "c: do you also sell matching walnut chairs somewhere?",
    )
    assert content.asked_for == (
        "I bought the walnut dining table from your Leeds store. "
        "do you also sell matching walnut chairs somewhere?"
    )
    assert content.title == "Do you also sell matching walnut chairs somewhere?"


def test_a_question_asked_twice_is_quoted_once():
    content = summarise("c: is the oak lamp in stock?", "c: Is the oak lamp in stock?")
    assert content.asked_for == "is the oak lamp in stock?"


def test_of_equal_answers_the_one_with_numbers_is_quoted():
    content = summarise(
        "c: how is the lamp made?",
        "a: the lamp has oaken legs",
        "a: the lamp has linen shades",
        "a: the lamp has 12 bulbs",
    )
    assert content.provided == "the lamp has oaken legs. the lamp has 12 bulbs"


def test_of_equal_answers_the_one_given_right_after_a_question_is_quoted():
    content = summarise(
        "c: how is the lamp made?",
        "a: Let me check",
        "c: ok",
        "a: the lamp has oaken legs",
        "a: the lamp has linen shades",
        "c: and how bright is the lamp?",
        "a: the lamp has glass bulbs",
    )
    assert content.provided == "the lamp has oaken legs. the lamp has glass bulbs"


def test_greetings_and_the_customers_name_do_not_reach_the_summary():
    content = summarise(
        "c: Hi there! Good morning, do you have the oak table in stock?",
        "a: Hi Marcus, the oak table is in stock in Leeds.",
        customer_name="Marcus Webb",
    )
    assert content.asked_for == "do you have the oak table in stock?"
    assert content.title == "Do you have the oak table in stock?"
    assert content.provided == "the oak table is in stock in Leeds."


def test_media_without_words_are_named():
    assert summarise("c[image]:").text == "The customer sent a photo."
    content = summarise("c: שלום", "c[voice]:")
    assert content.text == "הלקוח שלח הודעה קולית."
    assert content.title == "הלקוח שלח הודעה קולית"


@pytest.mark.parametrize("lines", [(), ("c: hi",), ("c[sticker]:",), ("a: hello",), ("s: x",)])
def test_nothing_to_summarise_still_gives_a_valid_summary(lines):
    content = summarise(*lines)
    assert content.text == "The customer said hello and asked for nothing yet."
    assert content.asked_for is None
    assert content.follow_up is None


def test_a_language_without_word_lists_is_quoted_in_english_phrases():
    content = summarise("c: مرحبا، هل لديكم مقاس 42؟", "a: نعم لدينا مقاس 42 بسعر 300")
    assert content.language == "ar"
    assert content.text == (
        "The customer asked: “مرحبا، هل لديكم مقاس 42؟” "
        "The shop answered: “نعم لدينا مقاس 42 بسعر 300”"
    )


def test_the_customers_language_wins_over_the_shops():
    content = summarise("c: Do you ship abroad?", "a: כן, אנחנו שולחים לכל העולם תוך שבוע")
    assert content.language == "en"


def test_a_customer_without_words_takes_the_shops_language():
    assert summarise("c: 38?", "a: כן, יש לנו במידה 38").language == "he"


def test_what_whatsapp_itself_says_is_not_quoted():
    content = summarise("s: Dana changed their phone number", "c: is the shop open on Sunday?")
    assert "phone number" not in content.model_dump_json()


def test_unstorable_characters_do_not_reach_the_summary():
    dumped = summarise(
        "c: is\x00 the \ud800blue one in stock?", customer_name="Da\x00na"
    ).model_dump()
    assert dumped["customer"] == "Dana"
    assert dumped["asked_for"] == "is the blue one in stock?"


def test_a_long_conversation_is_read_from_both_ends():
    lines = ["c: Do you rent bicycles for two weeks?"]
    lines += [f"c: and one more thing number {number} {'la ' * 30}" for number in range(900)]
    lines += ["a: Yes, bicycles are 120 shekels for two weeks."]
    result = ExtractiveSummarizer().summarize(transcript(*lines))
    assert result.dropped_turns > 0
    assert result.dropped_turns + len(result.message_ids) == len(lines)
    assert {result.message_ids[0], result.message_ids[-1]} == {"m1", f"m{len(lines)}"}


def test_other_processes_write_the_same_summary():
    program = (
        "from tests.support.shop_conversations import JAKARTA_BATIK as talk\n"
        "from timer_service.summarizers import ExtractiveSummarizer\n"
        "print(ExtractiveSummarizer().summarize(talk).content.model_dump_json())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".", "PYTHONIOENCODING": "utf-8"},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_the_vendors_package_is_not_even_imported():
    program = (
        "import sys, timer_service.summarizers\n"
        "assert 'openai' not in sys.modules and 'httpx2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": "."})


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Author)),
            st.sampled_from(["text", "image", "sticker"]),
            st.one_of(
                st.text(max_size=80),
                st.sampled_from(["hi", "how much?", "נחזור אליך מחר", "brp kak", "I'll pay"]),
            ),
        ),
        max_size=12,
    )
)
def test_any_conversation_gets_a_summary(messages):
    template = transcript("c: x").turns[0]
    turns = tuple(
        type(template)(f"m{number}", author, kind, text, template.sent_at)
        for number, (author, kind, text) in enumerate(messages)
    )
    result = ExtractiveSummarizer().summarize(Transcript(turns))
    assert result.message_ids == tuple(turn.message_id for turn in turns)
    result.content.model_dump_json().encode()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.50 at shop.example.com. Ok?", ["It is 3.50 at shop.example.com.", "Ok?"]),
        ("Jl. Sudirman No. 5 ya kak. Makasih", ["Jl. Sudirman No. 5 ya kak.", "Makasih"]),
        ("one\n\ntwo\n👍\n...", ["one", "two"]),
        ("כן. נשאר זוג אחד! מתאים?", ["כן.", "נשאר זוג אחד!", "מתאים?"]),
        ("多少钱？可以便宜吗？", ["多少钱？", "可以便宜吗？"]),  # noqa: RUF001
        ("", []),
    ],
)
def test_splitting_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_a_sentence_that_shares_words_with_others_ranks_above_one_that_shares_none():
    words = [frozenset("ab"), frozenset("bc"), frozenset("cd"), frozenset("xy")]
    scores = rank_sentences(words)
    assert scores[1] > scores[0] > scores[3]
    assert sum(scores) / len(scores) == pytest.approx(1)
