"""The people of a business: invited, let in by what they are, moved, removed."""

from __future__ import annotations

import logging
import re
from uuid import uuid4

import pytest
from flask import Flask

from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import ADMIN_KEY, Shop
from timer_service.ids import BusinessId
from timer_service.messages import MemberRole
from timer_service.wiring import WebServices

PASSWORD = "a shoe for every foot"
RINA, NOAM = "rina@shop.example", "noam@shop.example"


@pytest.fixture(autouse=True)
def _quickly(quick_passwords: None) -> None:
    """Hash passwords without the cost."""


@pytest.fixture
def admin(app: Flask) -> Reader:
    return Reader.signed_in(app, ADMIN_KEY)


def path_of_link(link: str) -> str:
    return link.removeprefix("https://timer.example")


def invite(reader: Reader, shop: Shop, email: str, role: str) -> str:
    """Invite somebody as a reader who may; return the link's path."""
    answer = reader.press(f"{page_of(shop)}/users/invitations", data={"email": email, "role": role})
    assert answer.status_code == 200, answer.text
    link = re.search(r'value="(https://timer\.example/invitation/[^"]+)"', answer.text)
    assert link is not None
    return path_of_link(link[1])


def join(app: Flask, path: str, password: str = PASSWORD, name: str = "Rina Shalev") -> Reader:
    reader = Reader(app)
    answer = reader.press(path, data={"name": name, "password": password})
    assert answer.status_code == 303, words_of(answer.text)
    return reader


def employ(app: Flask, admin: Reader, shop: Shop, role: str = "admin", email: str = RINA) -> Reader:
    return join(app, invite(admin, shop, email, role))


def sign_in(app: Flask, email: str, password: str) -> tuple[Reader, int]:
    reader = Reader(app)
    answer = reader.press("/sign-in", data={"email": email, "password": password})
    return reader, answer.status_code


def ids_of(source: str, what: str) -> list[str]:
    return re.findall(rf"/users/([0-9a-f-]{{36}})/{what}", source)


def test_an_invitation_lets_one_person_in_once(app: Flask, shop: Shop, admin: Reader) -> None:
    path = invite(admin, shop, " Rina@Shop.example ", "agent")
    shown = words_of(Reader(app).read(path))
    assert "Join Carmel Shoes" in shown
    assert "You are invited as: Agent." in shown
    rina = join(app, path)
    assert "Carmel Shoes" in words_of(rina.read(page_of(shop)))
    used = Reader(app).open(path)
    assert used.status_code == 404
    assert "It was used or withdrawn, or is too old. Ask for a new one." in words_of(used.text)
    again = Reader(app).press(path, data={"name": "Eve", "password": PASSWORD})
    assert again.status_code == 404
    back, status = sign_in(app, "RINA@shop.example", PASSWORD)
    assert status == 303
    assert back.open("/").headers["Location"] == page_of(shop)


def test_a_new_invitation_of_the_same_address_makes_the_one_before_void(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    first = invite(admin, shop, RINA, "viewer")
    second = invite(admin, shop, RINA, "manager")
    assert Reader(app).open(first).status_code == 404
    assert "Manager" in words_of(Reader(app).read(second))


def test_an_invitation_that_is_withdrawn_lets_nobody_in(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    path = invite(admin, shop, RINA, "viewer")
    page = admin.read(f"{page_of(shop)}/users")
    assert RINA in page
    (withdraw,) = re.findall(r'action="([^"]+/withdraw)"', page)
    assert admin.press(withdraw).status_code == 303
    assert Reader(app).open(path).status_code == 404
    assert RINA not in admin.read(f"{page_of(shop)}/users")


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("too few!", "Too short: at least 12 characters."),
        ("aaaaaaaaaaaaaaab", "Too easy to guess: use more different characters."),
        ("Rina@shop.example!", "Too easy to guess: it is like the e-mail address."),
        ("x1y2" * 100, "Too long: at most 200 characters."),
    ],
)
def test_a_weak_password_is_refused_beside_its_field_and_the_invitation_holds(
    app: Flask, shop: Shop, admin: Reader, password: str, said: str
) -> None:
    path = invite(admin, shop, RINA, "viewer")
    answer = Reader(app).press(path, data={"name": "Rina", "password": password})
    assert answer.status_code == 422
    assert said in words_of(answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert 'value="Rina"' in answer.text
    assert password not in answer.text
    join(app, path)


def test_a_nameless_person_is_asked_for_a_name(app: Flask, shop: Shop, admin: Reader) -> None:
    path = invite(admin, shop, RINA, "viewer")
    answer = Reader(app).press(path, data={"name": " ", "password": PASSWORD})
    assert answer.status_code == 422
    assert "Write your name" in words_of(answer.text)


ROLES = ["viewer", "agent", "manager", "admin"]


def test_each_role_reaches_what_those_below_it_reach_and_no_more(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    for rank, role in enumerate(ROLES):
        reader = employ(app, admin, shop, role, f"{role}@shop.example")
        assert reader.open(page_of(shop)).status_code == 200
        closing = reader.press(f"{page_of(shop)}/sessions/{session_id}/close").status_code
        assert closing == (303 if rank >= ROLES.index("agent") else 403)
        managing = reader.open(f"{page_of(shop)}/users").status_code
        assert managing == (200 if role == "admin" else 403)
        assert reader.open("/console/businesses").status_code == 403
        assert reader.open("/rq/").status_code == 403


def test_an_admin_of_one_business_is_nobody_in_another(
    app: Flask, shop: Shop, other_shop: Shop, admin: Reader
) -> None:
    rina = employ(app, admin, shop)
    theirs = employ(app, admin, other_shop, "viewer", NOAM)
    assert theirs.open(page_of(other_shop)).status_code == 200
    (noam_id,) = ids_of(admin.read(f"{page_of(other_shop)}/users"), "role")
    for end in ("", "/users", "/conversations", "/active-chats"):
        assert rina.open(f"{page_of(other_shop)}{end}").status_code == 404
    for path, data in (
        (f"/users/{noam_id}/remove", {}),
        (f"/users/{noam_id}/role", {"role": "admin"}),
        ("/users/invitations", {"email": "eve@x.example", "role": "admin"}),
    ):
        assert rina.press(f"{page_of(other_shop)}{path}", data=data).status_code == 404
        assert rina.press(f"/console/businesses/{uuid4()}{path}", data=data).status_code == 404
    # Nor by naming the person under a business of one's own.
    assert rina.press(f"{page_of(shop)}/users/{noam_id}/remove").status_code == 404
    role = {"role": "admin"}
    assert rina.press(f"{page_of(shop)}/users/{noam_id}/role", data=role).status_code == 404
    assert theirs.open(page_of(other_shop)).status_code == 200


def test_a_person_may_belong_to_several_businesses_with_a_role_in_each(
    app: Flask, shop: Shop, other_shop: Shop, admin: Reader
) -> None:
    rina = employ(app, admin, shop, "admin")
    path = invite(admin, other_shop, RINA, "viewer")
    shown = words_of(Reader(app).read(path))
    assert "This address has an account already" in shown
    assert "Choose a password" not in shown
    wrong = Reader(app).press(path, data={"password": "not her password", "name": "Eve"})
    assert wrong.status_code == 422
    assert "This is not the password of this account." in words_of(wrong.text)
    assert Reader(app).open(path).status_code == 200
    join(app, path)
    assert rina.open(page_of(other_shop)).status_code == 200
    assert rina.open(f"{page_of(other_shop)}/users").status_code == 403
    assert rina.open("/").headers["Location"] == "/console/own-businesses"
    listed = words_of(rina.read("/console/own-businesses"))
    assert "Carmel Shoes Admin" in listed
    assert "Toko Parang Viewer" in listed
    assert f'href="{page_of(other_shop)}"><bdi>Toko Parang' in rina.read(page_of(shop))


def test_a_changed_role_counts_from_the_next_request_on(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    rina = employ(app, admin, shop, "admin")
    noam = employ(app, admin, shop, "admin", NOAM)
    page = rina.read(f"{page_of(shop)}/users")
    (noam_id,) = ids_of(page, "role")  # her own row has no such form
    answer = rina.press(f"{page_of(shop)}/users/{noam_id}/role", data={"role": "viewer"})
    assert answer.status_code == 303
    assert "The role is changed." in words_of(rina.read(f"{page_of(shop)}/users"))
    assert "The role is changed." not in words_of(rina.read(f"{page_of(shop)}/users"))
    assert noam.open(f"{page_of(shop)}/users").status_code == 403
    strange = rina.press(f"{page_of(shop)}/users/{noam_id}/role", data={"role": "owner"})
    assert strange.status_code == 422


def test_whoever_is_removed_sees_nothing_from_then_on_and_is_forgotten(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    noam = employ(app, admin, shop, "viewer", NOAM)
    (noam_id,) = ids_of(admin.read(f"{page_of(shop)}/users"), "remove")
    assert admin.press(f"{page_of(shop)}/users/{noam_id}/remove").status_code == 303
    assert noam.open(page_of(shop)).status_code == 303
    assert sign_in(app, NOAM, PASSWORD)[1] == 401
    assert NOAM not in admin.read(f"{page_of(shop)}/users")


def test_nobody_removes_or_demotes_themselves(app: Flask, shop: Shop, admin: Reader) -> None:
    rina = employ(app, admin, shop, "admin")
    (rina_id,) = ids_of(admin.read(f"{page_of(shop)}/users"), "remove")
    assert rina.press(f"{page_of(shop)}/users/{rina_id}/remove").status_code == 409
    role = {"role": "viewer"}
    assert rina.press(f"{page_of(shop)}/users/{rina_id}/role", data=role).status_code == 409
    assert rina.open(f"{page_of(shop)}/users").status_code == 200


def test_an_address_that_is_none_or_here_already_is_refused_beside_its_field(
    app: Flask, shop: Shop, admin: Reader
) -> None:
    employ(app, admin, shop)
    for email, said in (("rina at shop", "no e-mail address"), (RINA, "here already")):
        answer = admin.press(
            f"{page_of(shop)}/users/invitations", data={"email": email, "role": "agent"}
        )
        assert answer.status_code == 422
        assert said in words_of(answer.text)
        assert f'value="{email}"' in answer.text


def test_an_erased_business_is_nobodys_any_more(
    app: Flask, shop: Shop, admin: Reader, services: WebServices
) -> None:
    rina = employ(app, admin, shop)
    path = invite(admin, shop, NOAM, "viewer")
    services.administration.erase_business(BusinessId(shop.id))  # type: ignore[arg-type]
    assert rina.open(page_of(shop)).status_code == 303
    assert Reader(app).open(path).status_code == 404
    assert not services.people.is_there_any()


def test_neither_addresses_nor_passwords_nor_tokens_are_logged(
    app: Flask,
    shop: Shop,
    admin: Reader,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    path = invite(admin, shop, RINA, "admin")
    join(app, path)
    sign_in(app, RINA, "wrong password of hers")
    sign_in(app, RINA, PASSWORD)
    said = "".join(capsys.readouterr()) + caplog.text
    assert "signed_in" in said
    for secret in (RINA, "shop.example", PASSWORD, "wrong password", path.rsplit("/", 1)[1]):
        assert secret not in said


def test_the_command_line_invites_too(services: WebServices, app: Flask, shop: Shop) -> None:
    link = services.members.invite(BusinessId(shop.id), RINA, MemberRole.MANAGER)  # type: ignore[arg-type]
    assert link.startswith("https://timer.example/invitation/")
    assert join(app, path_of_link(link)).open(page_of(shop)).status_code == 200
