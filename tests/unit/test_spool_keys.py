"""Which events must not overtake which others that wait in a spool."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from timer_service.ids import ConnectionId
from timer_service.messages import (
    ChangeKind,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
)
from timer_service.spool_keys import awaited_keys, held_keys

CONNECTION = ConnectionId(uuid4())
DANA, NOAM = ContactIds(phone="972500000001"), ContactIds(phone="972500000002")
LID, OTHER_LID = ContactIds(lid="111111111111111"), ContactIds(lid="222222222222222")
BOTH = ContactIds(phone=DANA.phone, lid=LID.lid)
BSUID = ContactIds(bsuid="IL.1")
OUR_ID = UUID(int=7)


def heard(contact: ContactIds, name: str = "theirs") -> Event:
    return InboundMessage(provider_message_id=name, contact=contact)


def said(contact: ContactIds, name: str = "ours") -> Event:
    return OwnMessage(provider_message_id=name, contact=contact)


def link(contact: ContactIds, former: ContactIds | None = None) -> Event:
    return IdentityLink(contact=contact, former=former or ContactIds())


def status(name: str, message_id: UUID | None = None) -> Event:
    return DeliveryStatus(provider_message_id=name, status=Delivery.READ, message_id=message_id)


def edit(target: str, contact: ContactIds | None = None) -> Event:
    return MessageChange(
        kind=ChangeKind.EDIT, direction=Direction.OUT, target=target, contact=contact
    )


STATE = ConnectionUpdate(state=ConnectionState.WAITING_QR)


def must_wait(coming: Event, waiting: Event, connection_id: ConnectionId = CONNECTION) -> bool:
    return not set(awaited_keys(connection_id, [coming])).isdisjoint(
        held_keys(CONNECTION, [waiting])
    )


@pytest.mark.parametrize(
    ("waiting", "coming"),
    [
        (heard(DANA), heard(DANA)),
        (heard(DANA), said(DANA)),
        (said(DANA), heard(DANA)),
        (heard(BOTH), heard(DANA)),
        (heard(LID), heard(BOTH)),
        (heard(DANA), heard(LID)),  # perhaps the same one
        (heard(BOTH), heard(BSUID)),
        (heard(ContactIds(phone="5511987654321")), heard(ContactIds(phone="551187654321"))),
        (heard(ContactIds(phone="5491123456789")), heard(ContactIds(phone="541123456789"))),
        (heard(ContactIds(phone="5215512345678")), heard(ContactIds(phone="525512345678"))),
        (heard(LID), link(BOTH)),
        (heard(DANA), link(NOAM, former=DANA)),
        (link(BOTH), heard(LID)),
        (link(NOAM, former=DANA), heard(NOAM)),
        (link(NOAM, former=DANA), heard(DANA)),
        (said(DANA, "a"), status("a")),
        (said(DANA, "a"), edit("a")),
        (heard(DANA, "a"), edit("a", DANA)),
        (status("a"), status("a")),
        (status("b", OUR_ID), status("a", OUR_ID)),
        (edit("a"), edit("a")),
        (STATE, STATE),
        (STATE, heard(DANA)),
    ],
)
def test_these_wait(waiting: Event, coming: Event) -> None:
    assert must_wait(coming, waiting)
    assert not must_wait(coming, waiting, ConnectionId(uuid4()))


@pytest.mark.parametrize(
    ("waiting", "coming"),
    [
        (heard(DANA), heard(NOAM)),
        (heard(BOTH), heard(NOAM)),
        (heard(LID), heard(OTHER_LID)),
        (heard(DANA), link(NOAM)),
        (heard(LID), heard(ContactIds(phone=NOAM.phone, lid=OTHER_LID.lid))),
        (heard(ContactIds(phone="111111111111111")), heard(BOTH)),
        (said(DANA, "a"), status("b")),
        (status("a", OUR_ID), status("b")),
        (edit("a"), edit("b", DANA)),
        (heard(DANA), STATE),
        (status("a"), heard(DANA)),
        (edit("a", DANA), heard(DANA)),
    ],
)
def test_these_do_not(waiting: Event, coming: Event) -> None:
    assert not must_wait(coming, waiting)


def test_a_key_is_the_same_in_every_program() -> None:
    """Spools outlive programs."""
    connection = ConnectionId(UUID(int=1))
    assert held_keys(connection, [heard(BOTH)]) == [-282_959_693, -1_021_962_818, -1_738_740_754]


def test_what_is_no_unicode_has_keys_too() -> None:
    assert must_wait(status("\ud800"), status("\ud800"))
