"""The demo's gateways: one linked number at each of the four kinds.

`story` and `traffic` ask for them, `gateway_server` lets their APIs be called.
"""

from __future__ import annotations

import hashlib
import hmac

from timer_service.demo.evolution_instance import EvolutionInstance
from timer_service.demo.gateway import Gateway
from timer_service.demo.meta_number import MetaNumber
from timer_service.demo.twilio_number import TwilioNumber
from timer_service.demo.waha_session import WahaSession
from timer_service.messages import ProviderName

KINDS: tuple[type[Gateway], ...] = (MetaNumber, EvolutionInstance, TwilioNumber, WahaSession)


def demo_gateways(secret: bytes) -> dict[ProviderName, Gateway]:
    """Make one of each kind; the same secret makes the same ids and secrets again."""

    def derive(what: str) -> str:
        return hmac.new(secret, f"demo {what}".encode(), hashlib.sha256).hexdigest()

    meta = MetaNumber(
        phone_number_id=f"1{int(derive('phone number'), 16) % 10**14:014d}",
        business_account_id=f"2{int(derive('business account'), 16) % 10**14:014d}",
        app_secret=derive("app secret")[:32],
        verify_token=derive("verify token")[:32],
        access_token=derive("access token")[:40],
    )
    evolution = EvolutionInstance(
        instance=f"kopi-carmel-{derive('instance')[:6]}",
        token=derive("token")[:40],
        api_key=derive("instance key")[:36],
    )
    twilio = TwilioNumber(
        account_sid=f"AC{derive('account')[:32]}", auth_token=derive("auth token")[:32]
    )
    waha = WahaSession(
        session=f"carmel-{derive('session')[:6]}",
        hmac_key=derive("hmac key")[:40],
        api_key=derive("server key")[:40],
    )
    every: tuple[Gateway, ...] = (meta, evolution, twilio, waha)
    return {one.provider: one for one in every}
