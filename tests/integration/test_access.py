"""Keys: made once, stored as digests, revocable, and of one business each."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest

from tests.support.builders import World
from timer_service.access import Caller, Keys, digest_of, make_key
from timer_service.errors import ConfigurationError
from timer_service.ids import BusinessId
from timer_service.installation import check_shards, make_admin_key
from timer_service.messages import Role


def test_a_new_business_comes_with_a_managers_key(world: World) -> None:
    caller = world.keys.who_has(world.manager_key)
    assert caller is not None
    assert (caller.role, caller.business_id) == (Role.MANAGER, world.business_id)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AGENT, Role.MANAGER])
def test_a_key_says_whose_it_is_and_what_it_may(world: World, role: Role) -> None:
    key_id, key = world.keys.add(world.business_id, role, "desk")
    caller = world.keys.who_has(key)
    assert caller == Caller(role, world.business_id, key_id) == world.keys.holder_of(key_id)


def test_only_a_digest_is_stored(world: World) -> None:
    rows = world.read("SELECT * FROM api_keys")
    assert world.manager_key not in str([dict(row) for row in rows])
    assert bytes(rows[0]["digest"]) == hashlib.sha256(world.manager_key.encode()).digest()


@pytest.mark.parametrize("wrong", ["", "tsk_", "tsk_" + "a" * 43, "\x00", "ключ"])
def test_an_unknown_key_is_nobodys(world: World, wrong: str) -> None:
    assert world.keys.who_has(wrong) is None
    assert world.keys.who_has(world.manager_key + "x") is None
    assert world.keys.who_has(world.manager_key.upper()) is None


def test_a_revoked_key_opens_nothing(world: World) -> None:
    key_id, key = world.keys.add(world.business_id, Role.AGENT)
    assert world.keys.revoke(world.business_id, key_id)
    assert world.keys.who_has(key) is None
    assert world.keys.holder_of(key_id) is None
    assert not world.keys.revoke(world.business_id, key_id)


def test_nobody_revokes_another_businesss_key(world: World) -> None:
    _, key = world.administration.add_business({"name": "Other"})
    caller = world.keys.who_has(key)
    assert caller is not None
    assert not world.keys.revoke(world.business_id, caller.key_id or uuid4())
    assert world.keys.who_has(key) == caller


def test_keys_are_listed_newest_first_by_business_without_secrets(world: World) -> None:
    world.administration.add_business({"name": "Other"})
    made = [world.keys.add(world.business_id, Role.AGENT, str(i))[0] for i in range(3)]
    listed = world.keys.keys_of(world.business_id, before=None, limit=10)
    assert [one.id for one in listed[:3]] == made[::-1]
    assert len(listed) == 4
    rest = world.keys.keys_of(world.business_id, before=made[1], limit=1)
    assert [one.id for one in rest] == [made[0]]
    assert "digest" not in listed[0].model_dump()


@pytest.mark.parametrize(
    ("role", "reaches"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.AGENT, {Role.VIEWER, Role.AGENT}),
        (Role.MANAGER, {Role.VIEWER, Role.AGENT, Role.MANAGER}),
        (Role.ADMIN, set(Role)),
    ],
)
def test_a_role_reaches_what_is_below_it(role: Role, reaches: set[Role]) -> None:
    assert {one for one in Role if Caller(role).may(one)} == reaches


class TestTheAdminKey:
    def test_one_that_is_configured_counts_and_no_other(self, world: World) -> None:
        keys = Keys(world.database, "the configured one")
        assert keys.who_has("the configured one") == Caller(Role.ADMIN)
        check_shards(world.database, 1)
        made = make_admin_key(world.database)
        assert made is not None
        assert keys.who_has(made) is None
        assert Keys(world.database, None).who_has("the configured one") is None

    def test_one_is_made_once_where_none_is_configured(self, world: World) -> None:
        check_shards(world.database, 1)
        made = make_admin_key(world.database)
        assert made is not None
        assert made.startswith("tsa_")
        assert make_admin_key(world.database) is None
        assert world.keys.who_has(made) == Caller(Role.ADMIN)

    def test_its_fingerprint_changes_with_it_and_is_not_its_digest(self, world: World) -> None:
        assert world.keys.admin_fingerprint() is None
        one, other = Keys(world.database, "one"), Keys(world.database, "other")
        assert one.admin_fingerprint() != other.admin_fingerprint()
        assert one.admin_fingerprint() == Keys(world.database, "one").admin_fingerprint()
        assert one.admin_fingerprint() != digest_of("one").hex()


def test_keys_are_long_and_never_alike() -> None:
    made = {make_key() for _ in range(100)}
    assert len(made) == 100
    assert all(one.startswith("tsk_") and len(one) >= 47 for one in made)


def test_the_number_of_shards_is_fixed_at_the_first_start(world: World) -> None:
    check_shards(world.database, 4)
    check_shards(world.database, 4)
    with pytest.raises(ConfigurationError, match="TIMER_SHARDS"):
        check_shards(world.database, 8)


def test_a_key_of_an_erased_business_opens_nothing(world: World) -> None:
    world.administration.erase_business(BusinessId(world.business_id))
    assert world.keys.who_has(world.manager_key) is None
