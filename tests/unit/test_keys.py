from __future__ import annotations

import re
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timer_service import keys
from timer_service.ids import BusinessId, SessionId, new_id, shorten
from timer_service.keys import Member

members = st.builds(
    Member, business_id=st.uuids().map(BusinessId), session_id=st.uuids().map(SessionId)
)


@given(member=members, shard=st.integers(0, 16383))
def test_a_live_key_is_read_back_whatever_its_shard(member: Member, shard: int) -> None:
    assert keys.parse_live_key(keys.live_key(shard, *member)) == member


@given(member=members)
def test_a_member_of_claimed_is_read_back(member: Member) -> None:
    assert keys.parse_member(keys.member_text(member)) == member


@given(text=st.text())
def test_any_other_key_is_nobodys_live_key(text: str) -> None:
    assert keys.parse_live_key(text) is None
    assert keys.parse_member(text) is None


@pytest.mark.parametrize(
    "key",
    [
        "rq:job:summarize_1_1",
        "ts:{0}:live:",
        "ts:{0}:live:short:short",
        "ts:{0}:live:" + "z" * 22 + ":" + "z" * 22,
        "ts:{0}:active:" + "0" * 22 + ":" + "0" * 22,
        "other:{0}:live:" + "0" * 22 + ":" + "0" * 22,
        keys.canary_key("abc"),
        keys.heartbeat_key("listener"),
    ],
)
def test_foreign_and_broken_keys_are_not_live_keys(key: str) -> None:
    assert keys.parse_live_key(key) is None


def test_the_pacer_names_keys_as_this_module_does() -> None:
    member = Member(BusinessId(new_id()), SessionId(new_id()))
    business = shorten(member.business_id)
    assert keys.active_prefix(3) + business == keys.active_key(3, member.business_id)
    assert keys.live_prefix(3) + keys.member_text(member) == keys.live_key(3, *member)


def test_all_keys_of_a_shard_share_its_hash_tag() -> None:
    member = Member(BusinessId(new_id()), SessionId(new_id()))
    of_shard = [
        keys.live_key(12, *member),
        keys.active_key(12, member.business_id),
        keys.agenda_key(12),
        keys.claimed_key(12),
        keys.epoch_key(12),
        keys.swept_key(12),
    ]
    # A cluster hashes what stands between the first { and the first } after it.
    assert {re.search(r"\{(.*?)\}", key).group(1) for key in of_shard} == {"12"}
    assert len(set(of_shard)) == len(of_shard)


def test_businesses_spread_over_all_shards_and_stay_where_they_are() -> None:
    businesses = [BusinessId(new_id()) for _ in range(2000)]
    spread = Counter(keys.shard_of(one, 8) for one in businesses)
    assert set(spread) == set(range(8))
    assert min(spread.values()) > 2000 / 8 / 2
    assert keys.shard_of(BusinessId(UUID(int=1)), 8) == 3


def test_the_channel_names_one_database_exactly() -> None:
    assert keys.expired_channel(4) == "__keyevent@4__:expired"
