"""The number of active chats: exact, whatever Redis knows and whoever is listening."""

from __future__ import annotations

import pytest

from tests.support.builders import DANA, NOAM, World, flush
from tests.support.live_sessions import Held
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId
from timer_service.live_chats import LiveChats
from timer_service.messages import ContactIds
from timer_service.records import sessions


@pytest.fixture(params=["redis", "postgres"])
def told_by(request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let either Redis or Postgres be the one who tells."""
    if request.param == "postgres":

        def away(*_: object) -> None:
            raise RedisUnavailable("away")

        monkeypatch.setattr(LiveChats, "list_active", away)
    else:

        def never(*_: object) -> int:
            raise AssertionError("Postgres was asked for the number")

        monkeypatch.setattr(sessions, "count_active", never)
    return str(request.param)


def test_a_chat_is_shown_with_what_the_interface_names(world: World, told_by: str) -> None:
    session = world.session(world.hear().session_id)
    page = world.service.active_chats(world.business_id)
    assert page.model_dump(mode="json") == {
        "active_chats_count": 1,
        "chats": [
            {
                "customer_wa_id": DANA.phone,
                "last_message_at": session.model_dump(mode="json")["last_message_at"],
                "provider": "meta",
                "session_id": str(session.id),
                "deadline_at": session.model_dump(mode="json")["deadline_at"],
            }
        ],
    }


def test_the_number_is_of_all_and_the_page_as_asked(world: World, told_by: str) -> None:
    for i in range(7):
        world.hear(contact=ContactIds(phone=f"97250{i:07}"))
    for limit, shown in ((0, 0), (3, 3), (50, 7)):
        page = world.service.active_chats(world.business_id, limit=limit)
        assert (page.active_chats_count, len(page.chats)) == (7, shown)
    assert world.active_chats.count(world.business_id) == 7


def test_the_latest_deadline_comes_first(world: World, told_by: str) -> None:
    for contact in (DANA, NOAM, DANA):
        world.hear(contact=contact)
    page = world.service.active_chats(world.business_id)
    assert [one.customer_wa_id for one in page.chats] == [DANA.phone, NOAM.phone]


def test_another_businesss_chats_are_not_counted(world: World, told_by: str) -> None:
    world.hear()
    other, _ = world.administration.add_business({"name": "Other"})
    page = world.service.active_chats(BusinessId(other.id))
    assert page.model_dump() == {"active_chats_count": 0, "chats": []}


def test_what_fell_due_is_not_counted_though_nobody_closed_it(world: World, told_by: str) -> None:
    session_id = world.hear().session_id
    world.hear(contact=NOAM)
    world.run(
        "UPDATE sessions SET deadline_at = clock_timestamp(), due_not_before = 'epoch' "
        "WHERE id = :id",
        id=session_id,
    )
    Held(world.redis, world.member(session_id)).make_due()
    assert world.session(session_id).is_open
    page = world.service.active_chats(world.business_id)
    assert page.active_chats_count == 1
    assert [one.customer_wa_id for one in page.chats] == [NOAM.phone]


def test_closing_and_opening_change_it_at_once(world: World, told_by: str) -> None:
    first = world.hear().session_id
    world.hear(contact=NOAM)
    world.service.complete(first)
    assert world.counted() == 1
    world.hear()
    assert world.counted() == 2


def test_while_redis_is_being_rebuilt_postgres_tells(world: World) -> None:
    world.hear()
    flush(world.redis_url)
    world.live_chats.begin_rebuild(0, "under way")
    assert world.counted_by_redis() is None
    page = world.service.active_chats(world.business_id)
    assert (page.active_chats_count, len(page.chats)) == (1, 1)
