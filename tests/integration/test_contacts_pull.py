"""A gateway's contacts: brought in page by page, once, without touching anybody's chat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.builders import DANA, NOAM, World, work_off, working_environment
from tests.support.fake_control_gateway import FakeControlGateway
from tests.support.fake_model import Reply
from timer_service.connection_control import ConnectionControl
from timer_service.contacts_pull import LEASE, MOST_REFUSALS, ContactsPuller
from timer_service.errors import DatabaseUnavailable, NotFound
from timer_service.gateway_http import GatewayHttp
from timer_service.ids import BusinessId, ConnectionId
from timer_service.job_queue import SENDS_QUEUE, PullJob
from timer_service.messages import ContactIds, ProviderName
from timer_service.providers.control import CONTACTS_PAGE
from timer_service.records import contact_pulls
from timer_service.resources import ContactsPull


@pytest.fixture
def gateway() -> Iterator[FakeControlGateway]:
    with FakeControlGateway() as gateway:
        gateway.api.add("default", "working")
        yield gateway


@pytest.fixture
def puller(world: World, gateway: FakeControlGateway) -> Iterator[ContactsPuller]:
    gateways = GatewayHttp()
    control = ConnectionControl(
        world.database,
        administration=world.administration,
        secret_box=world.secret_box,
        gateways=gateways,
        public_url="https://timer.example",
    )
    with working_environment(world):
        yield ContactsPuller(world.database, control, world.intake, world.follow_up)
    gateways.close()


def link(
    world: World, gateway: FakeControlGateway, provider: ProviderName = ProviderName.WAHA
) -> ConnectionId:
    connection_id = world.add_connection("default", provider)
    values = {"base_url": gateway.url, "secrets": {"api_key": gateway.api.key}}
    world.administration.change_connection(world.business_id, connection_id, values)
    return connection_id


def pull(world: World, puller: ContactsPuller, connection_id: ConnectionId) -> ContactsPull:
    puller.ask_for(world.business_id, connection_id)
    work_off(world, SENDS_QUEUE)
    return puller.latest(world.business_id, connection_id)


def names(world: World) -> dict[str, str | None]:
    """Return the name of each contact by its best id."""
    rows = world.read(
        "SELECT i.kind, i.value, k.name FROM contacts k JOIN contact_ids i ON i.contact_id = k.id "
        "WHERE k.merged_into IS NULL ORDER BY i.value"
    )
    return {f"{row['kind']}:{row['value']}": row["name"] for row in rows}


def people(many: int) -> list[dict[str, Any]]:
    return [
        {"id": f"62811{n:06}@c.us", "remoteJid": f"62811{n:06}@s.whatsapp.net", "pushName": f"P{n}"}
        for n in range(many)
    ]


@pytest.mark.parametrize("provider", [ProviderName.WAHA, ProviderName.BAILEYS])
def test_contacts_come_in_page_by_page_and_a_repeat_changes_nothing(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway, provider: ProviderName
) -> None:
    connection_id = link(world, gateway, provider)
    gateway.api.contacts = [*people(2 * CONTACTS_PAGE + 5), {"remoteJid": "1@g.us", "id": "1@g.us"}]
    asked = puller.ask_for(world.business_id, connection_id)
    assert (asked.status, asked.seen) == ("queued", 0)
    work_off(world, SENDS_QUEUE)
    done = puller.latest(world.business_id, connection_id)
    many = 2 * CONTACTS_PAGE + 5
    assert (done.status, done.seen, done.made, done.named) == ("done", many, many, many)
    assert done.skipped == 1
    assert done.finished_at is not None
    assert len(names(world)) == many
    before = names(world)
    again = pull(world, puller, connection_id)
    assert (again.status, again.seen, again.made, again.named) == ("done", many, 0, 0)
    assert names(world) == before


def test_a_known_name_is_never_replaced_and_a_missing_one_is_filled(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    world.hear("hello", contact=DANA, customer_name="Dana Levi")
    world.hear("hello", contact=NOAM)
    gateway.api.contacts = [
        {"id": f"{DANA.phone}@c.us", "name": "dana old phone"},
        {"id": f"{NOAM.phone}@c.us", "pushname": "Noam"},
    ]
    done = pull(world, puller, connection_id)
    assert (done.made, done.named) == (0, 1)
    assert names(world) == {f"phone:{DANA.phone}": "Dana Levi", f"phone:{NOAM.phone}": "Noam"}


def test_nothing_is_touched_opened_or_closed(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    world.hear("hello", contact=DANA)
    before = world.sessions()
    gateway.api.contacts = [{"id": f"{DANA.phone}@c.us", "name": "Dana"}, *people(3)]
    pull(world, puller, connection_id)
    after = world.sessions()
    assert [one.model_dump(exclude={"customer_name"}) for one in after] == [
        one.model_dump(exclude={"customer_name"}) for one in before
    ]


def test_a_pair_joins_what_was_two_customers_and_leaves_one_open_chat(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    hidden = ContactIds(lid="111111111111111")
    world.hear("from the phone", contact=DANA)
    world.hear("from the hidden id", contact=hidden)
    gateway.api.lids = [
        {"lid": "111111111111111@lid", "pn": f"{DANA.phone}@c.us"},
        {"lid": "222222222222222@lid", "pn": "972500000009@c.us"},
    ]
    done = pull(world, puller, connection_id)
    assert (done.linked, done.made) == (2, 1)
    open_now = [one for one in world.sessions() if one.is_open]
    assert len(open_now) == 1
    assert open_now[0].message_count == 2
    assert set(names(world)) == {
        f"phone:{DANA.phone}", "lid:111111111111111", "lid:222222222222222", "phone:972500000009",
    }  # fmt: skip


def test_one_that_is_under_way_is_answered_and_a_job_that_runs_twice_counts_once(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    gateway.api.contacts = people(3)
    first = puller.ask_for(world.business_id, connection_id)
    again = puller.ask_for(world.business_id, connection_id)
    assert again == first
    puller.pull_page(connection_id, 1)
    puller.pull_page(connection_id, 1)
    work_off(world, SENDS_QUEUE)
    done = puller.latest(world.business_id, connection_id)
    assert (done.status, done.seen, done.made) == ("done", 3, 3)


def test_a_lost_job_is_made_again_by_the_sweep(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    gateway.api.contacts = people(3)
    puller.ask_for(world.business_id, connection_id)
    world.queue_redis.flushdb()
    world.sweeper.sweep_once()
    assert world.jobs.depths()[SENDS_QUEUE] == 0  # not lost for long enough
    world.run("UPDATE contact_pulls SET next_check_at = clock_timestamp()")
    assert world.sweeper.sweep_once()["contact_pulls"] == 1
    work_off(world, SENDS_QUEUE)
    assert puller.latest(world.business_id, connection_id).status == "done"


def test_what_kills_three_workers_has_failed(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    puller.ask_for(world.business_id, connection_id)
    for attempt in (1, 2, 3):
        with world.database.transaction() as db:
            assert contact_pulls.start(db, connection_id, attempt, lease=LEASE)
        world.queue_redis.flushdb()
        world.run("UPDATE contact_pulls SET next_check_at = clock_timestamp()")
        world.sweeper.sweep_once()
    found = puller.latest(world.business_id, connection_id)
    assert (found.status, found.failure_code) == ("failed", "worker_died")
    assert world.jobs.depths()[SENDS_QUEUE] == 0
    assert pull(world, puller, connection_id).status == "done"


def test_a_gateway_that_fails_is_tried_again_and_given_up_in_the_end_with_the_reason(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    gateway.api.contacts = people(2)
    gateway.will(*[Reply(500, b"{}")] * MOST_REFUSALS)
    attempt = 1
    puller.ask_for(world.business_id, connection_id)
    for _ in range(MOST_REFUSALS):
        puller.pull_page(connection_id, attempt)
        found = puller.latest(world.business_id, connection_id)
        world.queue_redis.flushdb()
        world.run("UPDATE contact_pulls SET next_check_at = clock_timestamp()"
                  " WHERE next_check_at IS NOT NULL")  # fmt: skip
        if world.sweeper.sweep_once()["contact_pulls"]:
            attempt += 1
    assert (found.status, found.failure_code) == ("failed", "gateway_fault")
    assert found.failure is not None
    assert pull(world, puller, connection_id).made == 2


def test_a_key_that_is_not_accepted_fails_at_once(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    gateway.api.key = "another"
    found = pull(world, puller, connection_id)
    assert (found.status, found.failure_code) == ("failed", "key_refused")


def test_a_connection_deleted_meanwhile_brings_nothing(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    gateway.api.contacts = people(2)
    puller.ask_for(world.business_id, connection_id)
    world.administration.delete_connection(world.business_id, connection_id)
    work_off(world, SENDS_QUEUE)
    assert names(world) == {}
    with pytest.raises(NotFound):
        puller.latest(world.business_id, connection_id)


def test_the_job_comes_to_an_end_where_postgres_is_away(
    world: World, puller: ContactsPuller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(ContactsPuller, "pull_page", away)
    job = PullJob(world.connection_id, 1)
    world.jobs.enqueue([job])
    work_off(world, SENDS_QUEUE)
    assert world.jobs.came_to_an_end([job]) == {job.job_id}


def test_a_job_of_another_business_cannot_be_asked_for(
    world: World, puller: ContactsPuller, gateway: FakeControlGateway
) -> None:
    connection_id = link(world, gateway)
    other, _ = world.administration.add_business({"name": "another"})
    for call in (puller.ask_for, puller.latest):
        with pytest.raises(NotFound):
            call(BusinessId(other.id), connection_id)
