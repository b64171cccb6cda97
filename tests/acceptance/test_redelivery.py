"""Gateways deliver more than once: after a time-out, after a restart, and at the same time."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import IDLE_GAP_S
from tests.support.callers import Business, assert_closed_by_silence, customer
from timer_service.messages import ProviderName

PROVIDERS = pytest.mark.parametrize("provider", [ProviderName.META, ProviderName.BAILEYS])


@PROVIDERS
def test_the_same_webhook_five_times_in_a_row_changes_nothing(
    shop: Business, provider: ProviderName
) -> None:
    line = shop.connect(provider)
    webhook = line.webhook(customer(1), "is the blue one in stock?")
    assert line.post(webhook) == 200
    first = shop.session_of(customer(1))

    assert [line.post(webhook) for _ in range(4)] == [200] * 4

    assert shop.session_of(customer(1)) == first
    assert first["message_count"] == 1


@PROVIDERS
def test_the_same_webhook_five_times_at_once_counts_once(
    shop: Business, provider: ProviderName
) -> None:
    line = shop.connect(provider)
    webhook = line.webhook(customer(1), "is the blue one in stock?")

    assert line.post_together([webhook] * 5) == [200] * 5

    session = shop.session_of(customer(1))
    assert session["message_count"] == 1
    assert len(shop.messages(session["id"])) == 1


def test_a_redelivery_after_the_close_opens_nothing(shop: Business) -> None:
    line = shop.connect(ProviderName.META)
    webhook = line.webhook(customer(1), "is the blue one in stock?")
    assert line.post(webhook) == 200
    shop.wait_until_closed()
    (closed,) = shop.wait_until_summarised()
    assert_closed_by_silence(closed, idle_gap_s=IDLE_GAP_S)

    assert line.post_together([webhook] * 5) == [200] * 5

    assert shop.session_of(customer(1)) == closed
    assert shop.active_count == 0
