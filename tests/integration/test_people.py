"""People's accounts: who is signed in, until when, and what guessing costs."""

from __future__ import annotations

from functools import partial
from uuid import UUID, uuid4

import argon2
import psycopg
import pytest

from tests.support.builders import World
from timer_service import people as accounts
from timer_service.errors import Conflict, InvalidInput, NotFound, TooManyTries
from timer_service.ids import BusinessId
from timer_service.members import Members
from timer_service.messages import MemberRole, Role
from timer_service.passwords import STAND_IN, Passwords, Weakness, WeakPassword
from timer_service.people import People, digest_of_token, read_email

RINA, PASSWORD, ADDRESS = "rina@shoes.example", "a shoe for every foot", "192.0.2.1"


@pytest.fixture
def passwords(quick_passwords: None) -> Passwords:
    return Passwords()


@pytest.fixture
def people(world: World, passwords: Passwords) -> People:
    return People(world.database, passwords)


@pytest.fixture
def members(world: World, people: People, passwords: Passwords) -> Members:
    return Members(
        world.database, accounts=people, passwords=passwords, public_url="https://timer.example/"
    )


@pytest.fixture
def rina(world: World, members: Members) -> str:
    """Rina has joined; her first sign-in's token."""
    link = members.invite(world.business_id, RINA, MemberRole.ADMIN)
    return members.join(token_of(link), name=" Rina  Shalev ", password=PASSWORD)


def token_of(link: str) -> str:
    return link.rpartition("/")[2]


def id_of(people: People, token: str) -> UUID:
    person = people.who_has(token)
    assert person is not None
    return person.id


def sign_in(people: People, password: str = PASSWORD, address: str = ADDRESS) -> str | None:
    return people.sign_in(RINA, password, address=address)


def test_a_person_signs_in_with_what_they_chose(world: World, people: People, rina: str) -> None:
    token = people.sign_in(" RINA@Shoes.example", PASSWORD, address=ADDRESS)
    assert token not in {None, rina}
    person = people.who_has(token or "")
    assert person is not None
    assert (person.email, person.name) == (RINA, "Rina Shalev")
    assert person.role_in(world.business_id) is MemberRole.ADMIN
    assert MemberRole.ADMIN.role is Role.BUSINESS_ADMIN
    assert person.role_in(uuid4()) is None
    for wrong in ("", PASSWORD + " ", PASSWORD.upper(), "x" * 5000):
        assert sign_in(people, wrong) is None
    assert people.sign_in("nobody@shoes.example", PASSWORD, address=ADDRESS) is None
    assert people.sign_in("no address", PASSWORD, address=ADDRESS) is None


def test_keyboards_that_write_the_same_letters_otherwise_sign_in_alike(
    world: World, members: Members, people: People
) -> None:
    link = members.invite(world.business_id, RINA, MemberRole.VIEWER)
    members.join(token_of(link), name="Rina", password="Caf\u00e9 am Ende der Welt")
    assert sign_in(people, "Cafe\u0301 am Ende der Welt") is not None


def test_neither_token_nor_password_nor_tried_address_stands_in_a_table(
    world: World, people: People, rina: str, database_url: str
) -> None:
    assert sign_in(people, "wrong") is None
    with psycopg.connect(database_url) as db:
        for table in ("people", "sign_ins", "sign_in_tries", "invitations", "members"):
            rows = repr(db.execute(f"SELECT * FROM {table}").fetchall())
            assert PASSWORD not in rows
            assert rina not in rows
            assert ADDRESS not in rows
            assert (RINA in rows) is (table == "people")


@pytest.mark.parametrize(
    "change",
    [
        "ends_at = clock_timestamp()",
        "seen_at = clock_timestamp() - interval '12 hours 1 second'",
    ],
)
def test_a_sign_in_ends_at_its_time_and_when_nobody_was_there(
    world: World, people: People, rina: str, change: str
) -> None:
    assert people.who_has(rina) is not None
    world.run(f"UPDATE sign_ins SET {change}")
    assert people.who_has(rina) is None


def test_being_there_is_noted_but_not_what_a_page_fetches_by_itself(
    world: World, people: People, rina: str
) -> None:
    world.run("UPDATE sign_ins SET seen_at = clock_timestamp() - interval '11 hours 59 minutes'")
    ages = "SELECT clock_timestamp() - seen_at > interval '1 hour' AS is_old FROM sign_ins"
    assert people.who_has(rina, is_a_visit=False) is not None
    assert [row["is_old"] for row in world.read(ages)] == [True]
    assert people.who_has(rina) is not None
    assert [row["is_old"] for row in world.read(ages)] == [False]


def test_signing_out_ends_this_browser_or_all_others(people: People, rina: str) -> None:
    second, third = sign_in(people), sign_in(people)
    assert second
    assert third
    people.sign_out(rina)
    assert people.who_has(rina) is None
    assert people.sign_out_elsewhere(id_of(people, second), second) == 1
    assert people.who_has(third) is None
    assert people.who_has(second) is not None


def test_a_changed_password_signs_out_every_other_browser(people: People, rina: str) -> None:
    other = sign_in(people)
    person = people.who_has(rina)
    assert person is not None
    here = {"token": rina, "address": ADDRESS}
    assert not people.change_password(person, "wrong", "another good sentence", **here)
    with pytest.raises(WeakPassword):
        people.change_password(person, PASSWORD, "short", **here)
    assert people.change_password(person, PASSWORD, "another good sentence", **here)
    assert people.who_has(rina) is not None
    assert people.who_has(other or "") is None
    assert sign_in(people) is None
    assert sign_in(people, "another good sentence") is not None


def test_a_reset_link_works_once_and_signs_out_every_browser(
    world: World, people: People, rina: str
) -> None:
    first = people.make_reset(RINA)
    token = people.make_reset(" RINA@shoes.example")
    with pytest.raises(NotFound):
        people.email_of_reset(first)
    assert people.email_of_reset(token) == RINA
    with pytest.raises(WeakPassword):
        people.reset_password(token, RINA)
    signed_in = people.reset_password(token, "another good sentence")
    assert people.who_has(signed_in) is not None
    assert people.who_has(rina) is None
    with pytest.raises(NotFound):
        people.reset_password(token, "a third good sentence")
    late = people.make_reset(RINA)
    world.run("UPDATE password_resets SET ends_at = clock_timestamp()")
    with pytest.raises(NotFound):
        people.reset_password(late, "a third good sentence")
    with pytest.raises(NotFound):
        people.make_reset("nobody@shoes.example")


def test_guessing_at_an_account_ends_soon_even_for_the_right_password(
    world: World, people: People, rina: str
) -> None:
    for number in range(accounts.TRIES_OF_AN_ACCOUNT):
        assert sign_in(people, "wrong", address=f"192.0.2.{number}") is None
    with pytest.raises(TooManyTries) as refused:
        sign_in(people, PASSWORD, address="198.51.100.1")
    assert 0 < refused.value.retry_after_s <= accounts.TRIES_WINDOW.total_seconds()
    assert people.who_has(rina) is not None  # who is in stays in
    world.run("UPDATE sign_in_tries SET ends_at = clock_timestamp()")
    assert sign_in(people) is not None


def test_guessing_from_an_address_ends_soon_whoever_is_guessed_at(
    monkeypatch: pytest.MonkeyPatch, people: People, rina: str
) -> None:
    monkeypatch.setattr(accounts, "TRIES_FROM_AN_ADDRESS", 5)
    for number in range(5):
        assert people.sign_in(f"n{number}@shoes.example", "wrong", address=ADDRESS) is None
    with pytest.raises(TooManyTries):
        sign_in(people)
    assert sign_in(people, address="198.51.100.1") is not None


def test_signing_in_forgives_an_account_its_wrong_tries(people: People, rina: str) -> None:
    for _ in range(3):
        for _ in range(accounts.TRIES_OF_AN_ACCOUNT - 1):
            assert sign_in(people, "wrong") is None
        assert sign_in(people) is not None


def test_no_account_costs_a_guess_as_much_as_an_account(
    monkeypatch: pytest.MonkeyPatch, people: People, rina: str
) -> None:
    checked: list[str] = []
    real = argon2.PasswordHasher.verify

    def verify(self: argon2.PasswordHasher, stored: str, password: str) -> bool:
        checked.append(stored.rpartition("$")[0].rpartition("$")[0])
        return real(self, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    assert sign_in(people, "wrong") is None
    assert people.sign_in("nobody@shoes.example", "wrong", address=ADDRESS) is None
    assert people.sign_in("no address", "wrong", address=ADDRESS) is None
    assert len(checked) == 3
    assert len(set(checked)) == 1


def test_the_stand_in_hash_costs_what_a_real_one_does() -> None:
    assert not argon2.PasswordHasher().check_needs_rehash(STAND_IN)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(STAND_IN, PASSWORD)


def test_a_hash_of_former_costs_is_made_anew_at_the_next_sign_in(
    world: World, people: People, rina: str
) -> None:
    old = argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    world.run("UPDATE people SET password_hash = :old", old=old)
    token = sign_in(people)
    assert token is not None
    assert people.who_has(token) is not None
    (row,) = world.read("SELECT password_hash FROM people")
    assert ",t=1," in row["password_hash"]


def test_what_is_over_is_deleted_by_whoever_comes_next(
    world: World, people: People, rina: str
) -> None:
    assert sign_in(people, "wrong", address="192.0.2.77") is None
    world.run("UPDATE sign_ins SET ends_at = clock_timestamp()")
    world.run("UPDATE sign_in_tries SET ends_at = clock_timestamp()")
    assert sign_in(people) is not None
    assert len(world.read("SELECT FROM sign_ins")) == 1
    assert len(world.read("SELECT FROM sign_in_tries")) == 1  # the address of this one


def test_whoever_has_an_account_joins_with_its_password_only(
    world: World, members: Members, people: People, rina: str
) -> None:
    business, _ = world.administration.add_business({"name": "Other"})
    token = token_of(members.invite(business.id, RINA, MemberRole.VIEWER))  # type: ignore[arg-type]
    assert members.invitation(token).has_account
    with pytest.raises(Conflict):
        members.join(token, name="Eve", password="eve's own password")
    assert members.join_with_account(token, password="wrong", address=ADDRESS) is None
    signed_in = members.join_with_account(token, password=PASSWORD, address=ADDRESS)
    person = people.who_has(signed_in or "")
    assert person is not None
    assert {one.business_name for one in person.memberships} == {"Other", "Shop"}
    with pytest.raises(NotFound):
        members.join_with_account(token, password=PASSWORD, address=ADDRESS)


def test_of_two_who_accept_one_invitation_at_once_one_is_refused(
    world: World,
    members: Members,
    people: People,
    rina: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    business, _ = world.administration.add_business({"name": "Other"})
    owner = BusinessId(business.id)
    for email, accept in (
        (RINA, partial(members.join_with_account, password=PASSWORD, address=ADDRESS)),
        ("noam@shoes.example", partial(members.join, name="Noam", password=PASSWORD)),
    ):
        token = token_of(members.invite(owner, email, MemberRole.VIEWER))
        seen = members.invitation(token)
        accept(token)
        members.remove(owner, next(one.id for one in members.members_of(owner)))
        with monkeypatch.context() as both_looked_first:
            both_looked_first.setattr(members, "invitation", lambda _, seen=seen: seen)
            with pytest.raises(NotFound):
                accept(token)
        assert members.members_of(owner) == []


def test_an_invitation_ends_by_itself(world: World, members: Members) -> None:
    token = token_of(members.invite(world.business_id, RINA, MemberRole.VIEWER))
    world.run("UPDATE invitations SET ends_at = clock_timestamp()")
    with pytest.raises(NotFound):
        members.join(token, name="Rina", password=PASSWORD)
    assert members.invited_to(world.business_id) == []


def test_nobody_is_invited_to_what_is_not_there(members: Members) -> None:
    with pytest.raises(NotFound):
        members.invite(uuid4(), RINA, MemberRole.VIEWER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("password", "weakness"),
    [
        ("eleven chars"[:11], Weakness.SHORT),
        ("ab" * 100 + "c", Weakness.LONG),
        ("abababababababab", Weakness.SIMPLE),
        ("RINA@shoes.example", Weakness.LIKE_EMAIL),
    ],
)
def test_a_password_that_is_easy_to_guess_is_none(
    passwords: Passwords, password: str, weakness: Weakness
) -> None:
    with pytest.raises(WeakPassword) as refused:
        passwords.hash(password, email=RINA)
    assert refused.value.weakness is weakness
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "rina", "@shoes.example", "rina@", "rina@shop example", "a@b@c", "r@.example",
             "r\n@shoes.example", "<r>@shoes.example", f"{'r' * 250}@shoes.example"]
)  # fmt: skip
def test_what_is_no_address_is_refused_unrepeated(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_email(text)
    assert not text.strip() or text not in str(refused.value)


def test_tokens_are_long_and_kept_as_digests_only() -> None:
    one, other = accounts.new_token(), accounts.new_token()
    assert one != other
    assert len(one) >= 43
    assert digest_of_token(one) != one.encode()
