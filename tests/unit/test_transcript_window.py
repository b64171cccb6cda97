"""Fitting a conversation to a reader of limited size."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.shop_conversations import transcript
from timer_service.summarizers.cleaning import cut, cut_middle
from timer_service.summarizers.window import MIN_WINDOW_CHARS, fit, size_chars

_lengths = st.lists(st.integers(0, 3_000), max_size=60)
_windows = st.integers(0, 20_000)


def talk(lengths: list[int]):
    return transcript(*(f"c: {'x' * length}" for length in lengths))


def test_what_fits_is_left_alone():
    short = transcript("c: one", "a: two")
    window = fit(short, 1_000)
    assert (window.turns, window.dropped) == (short.turns, 0)


def test_the_middle_goes_first():
    window = fit(talk([100] * 100), 2_000)
    assert window.head[0].message_id == "m1"
    assert window.tail[-1].message_id == "m100"
    assert len(window.tail) >= len(window.head)
    assert window.dropped == 100 - len(window.turns)


def test_a_giant_message_is_cut_in_its_own_middle():
    (turn,) = fit(transcript("c: start " + "x" * 90_000 + " end"), 1_000).turns
    assert turn.text.startswith("start")
    assert turn.text.endswith("end")
    assert "[…]" in turn.text
    assert len(turn.text) < 1_000


def test_a_giant_message_does_not_push_out_its_neighbours():
    window = fit(transcript("c: why?", "a: " + "x" * 90_000, "c: I see"), 1_000)
    assert [turn.message_id for turn in window.turns] == ["m1", "m2", "m3"]
    assert window.dropped == 0


@given(_lengths, _windows)
def test_the_result_fits_and_leaves_out_one_stretch_of_the_middle(lengths, max_chars):
    whole = talk(lengths)
    window = fit(whole, max_chars)
    assert size_chars(window.turns) <= max(max_chars, MIN_WINDOW_CHARS)
    ids = [turn.message_id for turn in whole.turns]
    head, tail = len(window.head), len(window.tail)
    assert [turn.message_id for turn in window.turns] == ids[:head] + ids[len(ids) - tail :]
    assert head + window.dropped + tail == len(ids)
    assert window.dropped == 0 or (head and tail)


@given(_lengths, _windows)
def test_only_texts_change_and_only_by_their_middle(lengths, max_chars):
    whole = {turn.message_id: turn for turn in talk(lengths).turns}
    for turn in fit(talk(lengths), max_chars).turns:
        original = whole[turn.message_id]
        assert replace(turn, text=original.text) == original
        assert len(turn.text) <= len(original.text)


@given(st.text(), st.integers(10, 200))
def test_cutting_never_exceeds_its_length(text, max_chars):
    assert len(cut(text, max_chars)) <= max_chars
    assert len(cut_middle(text, max_chars)) <= max_chars


def test_cutting_ends_at_a_word():
    assert cut("one two three", 13) == "one two three"
    assert cut("one two three", 12) == "one two…"
    assert cut("one two, three", 9) == "one two…"
    assert cut("onetwothree", 5) == "onet…"
