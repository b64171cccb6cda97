"""The demo's pace never changes how a conversation splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service.demo.conversations import Turn, packaged_conversations, read_conversations
from timer_service.demo.pacing import LIFE_IDLE_GAP_S, pace
from timer_service.errors import InvalidInput
from timer_service.replay import opens_session

TURNS = st.lists(
    st.builds(
        Turn,
        by=st.sampled_from(["customer", "agent"]),
        after_s=st.one_of(st.floats(0, 4000), st.sampled_from([0.0, 899.9, 900.0, 900.1])),
    ),
    min_size=1,
    max_size=40,
)


def moments(pauses_s: list[float], turns: list[Turn]) -> list[tuple[float, bool]]:
    """Add pauses up to instants, beside who wrote."""
    now_s, found = 0.0, []
    for pause_s, turn in zip(pauses_s, turns, strict=True):
        now_s += pause_s
        found.append((now_s, turn.is_customers))
    return found


@given(
    turns=TURNS,
    idle_gap_s=st.sampled_from([1, 4, 30, 900, 3600]),
    speed=st.floats(0.1, 50),
    lag_s=st.floats(0, 0.004),
)
def test_a_paced_conversation_splits_as_in_life(
    turns: list[Turn], idle_gap_s: int, speed: float, lag_s: float
) -> None:
    """``lag_s`` is what delivering takes; forty messages in a row may not sum up to a split."""
    cues = pace(turns, idle_gap_s=idle_gap_s, speed=speed)
    in_life = opens_session(moments([turn.after_s for turn in turns], turns), LIFE_IDLE_GAP_S)
    played = opens_session(moments([cue.pause_s + lag_s for cue in cues], turns), idle_gap_s)
    assert [cue.opens_session for cue in cues] == in_life
    assert played == in_life
    assert all(cue.pause_s >= 0 for cue in cues)


def test_an_hour_of_silence_becomes_a_little_more_than_the_gap() -> None:
    turns = [Turn(by="customer", after_s=0), Turn(by="customer", after_s=3600)]
    first, second = pace(turns, idle_gap_s=4)
    assert (first.is_shortened, second.is_shortened) == (False, True)
    assert 4.5 < second.pause_s < 6


def test_the_silence_that_splits_counts_from_what_moved_the_deadline() -> None:
    turns = [
        Turn(by="customer", after_s=0),
        Turn(by="agent", after_s=600),
        Turn(by="customer", after_s=3600),
    ]
    _, answer, back = pace(turns, idle_gap_s=10)
    assert answer.pause_s == pytest.approx(8)
    assert answer.pause_s + back.pause_s == pytest.approx(13)


def test_answers_one_after_another_do_not_add_up_to_a_silence() -> None:
    turns = [Turn(by="customer", after_s=0), *[Turn(by="agent", after_s=280)] * 3]
    cues = pace(turns, idle_gap_s=10)
    assert sum(cue.pause_s for cue in cues) == pytest.approx(8)


def test_pauses_shrink_but_never_grow_beyond_life() -> None:
    turns = [Turn(by="customer", after_s=0), Turn(by="agent", after_s=60)]
    assert pace(turns, idle_gap_s=4)[1].pause_s == pytest.approx(0.8)
    assert pace(turns, idle_gap_s=4, speed=2)[1].pause_s == pytest.approx(0.4)
    assert pace(turns, idle_gap_s=3600)[1].pause_s == pytest.approx(60)


def test_a_conversation_may_start_later() -> None:
    turns = [Turn(by="customer", after_s=5)]
    assert pace(turns, idle_gap_s=4, starts_after_s=300)[0].pause_s == pytest.approx(4)
    assert pace(turns, idle_gap_s=4)[0].pause_s == 0


def test_the_packaged_story_ends_within_twenty_five_seconds() -> None:
    lasting_s = []
    for one in packaged_conversations()[:5]:
        cues = pace(one.turns, idle_gap_s=4, starts_after_s=one.starts_after_s)
        lasting_s.append(sum(cue.pause_s for cue in cues))
    assert max(lasting_s) + 4 < 22  # and three seconds for deliveries and the last summary


def test_any_of_the_cast_may_play_and_is_called_by_first_name() -> None:
    one = packaged_conversations()[2]
    emma, daniel = one.cast[:2]
    said = " ".join(turn.text for turn in one.turns_with(daniel))
    assert "Hi Daniel, yes" in said
    assert "Hi Emma, yes" in " ".join(turn.text for turn in one.turns_with(emma))
    assert "{first}" not in said


def test_a_file_of_conversations_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    turn = {"by": "customer", "after_s": 0, "text": "hi"}
    one = {
        "provider": "baileys",
        "cast": [{"name": "Dana", "phone": "972500001005"}],
        "turns": [turn],
    }
    path.write_text(json.dumps({"conversations": [one]}))
    (found,) = read_conversations(path)
    assert found.turns == (Turn(by="customer", after_s=0, text="hi"),)
    assert found.starts_after_s == 0


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("{}", "conversations"),
        ('{"conversations": []}', "conversations"),
        ('{"conversations": [{"provider": "twilio"}]}', "conversations.0.provider"),
        ("not json at all", "the file"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, content: str, where: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=where) as raised:
        read_conversations(path)
    assert "not json at all" not in str(raised.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_conversations(tmp_path / "nothing.json")


def test_an_export_is_one_conversation_of_whoever_wrote_first(tmp_path: Path) -> None:
    path = tmp_path / "chat.txt"
    path.write_text(
        "31/12/2025, 10:00 - Messages and calls are end-to-end encrypted.\n"
        "31/12/2025, 10:00 - Dana: hi\n"
        "31/12/2025, 10:02 - Shop: hello\n"
        "31/12/2025, 10:03 - Shop: <Media omitted>\n"
        "31/12/2025, 10:04 - Dana: This message was deleted\n"
        "31/12/2025, 10:05 - Owner: anything else?\n"
        "31/12/2025, 10:04 - Dana: no\n"
    )
    (found,) = read_conversations(path)
    assert [(turn.by, turn.after_s, turn.type) for turn in found.turns] == [
        ("customer", 0, "text"),
        ("agent", 120, "text"),
        ("agent", 60, "image"),
        ("agent", 120, "text"),
        ("customer", 0, "text"),
    ]
    assert found.cast[0].name == "Dana"


def test_an_export_without_a_word_of_anybody_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chat.TXT"
    path.write_text("31/12/2025, 10:00 - Messages and calls are end-to-end encrypted.\n")
    with pytest.raises(InvalidInput, match="no messages of people"):
        read_conversations(path)


def test_two_conversations_of_one_customer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    one = {
        "provider": "meta",
        "cast": [{"name": "Dana", "phone": "972500001005"}],
        "turns": [{"by": "customer", "after_s": 0, "text": "hi"}],
    }
    path.write_text(json.dumps({"conversations": [one, one]}))
    with pytest.raises(InvalidInput, match="a phone number of their own"):
        read_conversations(path)
