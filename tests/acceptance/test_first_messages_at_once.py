"""A customer's first forty messages arrive at the same instant."""

from __future__ import annotations

import pytest

from tests.support.callers import Business, customer
from timer_service.messages import ProviderName


@pytest.mark.parametrize("provider", [ProviderName.META, ProviderName.BAILEYS])
def test_forty_first_messages_at_once_become_one_session(
    shop: Business, provider: ProviderName
) -> None:
    shop.send("PATCH", f"/api/businesses/{shop.id}", {"idle_gap_s": 600})
    line = shop.connect(provider)
    webhooks = [line.webhook(customer(7), f"do you have size {size}?") for size in range(40)]

    assert line.post_together(webhooks) == [200] * 40

    session = shop.session_of(customer(7))
    assert session["is_open"]
    assert session["message_count"] == 40
    stored = {one["provider_message_id"] for one in shop.messages(session["id"])}
    assert stored == {webhook.message_id for webhook in webhooks}
    assert shop.active_count == 1
