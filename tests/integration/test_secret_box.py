"""Secrets at rest: sealed, bound to their row, openable after a rotation, never shown."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from tests.support.builders import World
from timer_service.errors import ConfigurationError, NotFound
from timer_service.ids import BusinessId, ConnectionId, new_id
from timer_service.messages import ProviderName
from timer_service.records import connections
from timer_service.secret_box import SecretBox

OWNER = (BusinessId(new_id()), ConnectionId(new_id()))
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_what_was_sealed_opens_and_is_not_readable() -> None:
    box = SecretBox([NEW])
    sealed = box.seal(*OWNER, {"app_secret": "hunter2", "שם": "ערך"})
    assert box.open(*OWNER, sealed) == {"app_secret": "hunter2", "שם": "ערך"}
    assert b"hunter2" not in sealed
    assert box.seal(*OWNER, {}) != box.seal(*OWNER, {})


def test_after_a_rotation_the_old_opens_and_the_new_seals() -> None:
    sealed = SecretBox([OLD]).seal(*OWNER, {"a": "1"})
    both = SecretBox([NEW, OLD])
    assert both.open(*OWNER, sealed) == {"a": "1"}
    assert SecretBox([NEW]).open(*OWNER, both.seal(*OWNER, {"a": "2"})) == {"a": "2"}


@pytest.mark.parametrize("which", [0, 1])
def test_a_ciphertext_copied_to_another_row_does_not_open(which: int) -> None:
    sealed = SecretBox([NEW]).seal(*OWNER, {"a": "hunter2"})
    other = list(OWNER)
    other[which] = new_id()
    with pytest.raises(ConfigurationError) as caught:
        SecretBox([NEW]).open(*other, sealed)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("sealed", [b"", b"garbage", None])
def test_what_no_key_opens_says_which_setting_to_check(sealed: bytes | None) -> None:
    sealed = SecretBox([OLD]).seal(*OWNER, {}) if sealed is None else sealed
    with pytest.raises(ConfigurationError, match="TIMER_ENCRYPTION_KEYS"):
        SecretBox([NEW]).open(*OWNER, sealed)


def test_a_connections_secrets_are_stored_sealed_and_never_answered(world: World) -> None:
    shown = world.administration.add_connection(
        world.business_id,
        provider=ProviderName.WAHA,
        external_id="default",
        secrets={"hmac_key": "hunter2", "anything_else": "kept"},
    )
    assert "hunter2" not in shown.model_dump_json()
    stored = bytes(
        world.read("SELECT secrets FROM connections WHERE id = :id", id=shown.id)[0]["secrets"]
    )
    assert b"hunter2" not in stored
    opened = world.secret_box.open(world.business_id, ConnectionId(shown.id), stored)
    assert opened == {"hmac_key": "hunter2", "anything_else": "kept"}


def test_changed_secrets_are_added_to_those_that_are_there(world: World) -> None:
    world.administration.change_connection(
        world.business_id, world.connection_id, {"secrets": {"verify_token": "v"}}
    )
    with world.database.transaction() as db:
        row = connections.get(db, world.business_id, world.connection_id)
    assert row is not None
    assert world.secret_box.open(world.business_id, world.connection_id, row["secrets"]) == {
        "app_secret": "secret",
        "verify_token": "v",
    }


def test_deleting_a_connection_deletes_its_secrets(world: World) -> None:
    world.administration.delete_connection(world.business_id, world.connection_id)
    row = world.read("SELECT secrets, status FROM connections")[0]
    assert (bytes(row["secrets"]), row["status"]) == (b"", "removed")
    with pytest.raises(NotFound):
        world.administration.connection(world.business_id, world.connection_id)
