"""The gateways we can read and send by, by name."""

from __future__ import annotations

from timer_service.messages import ProviderName
from timer_service.providers import (
    baileys,
    baileys_sending,
    meta,
    meta_sending,
    twilio,
    twilio_sending,
    waha,
    waha_sending,
)
from timer_service.providers.base import Provider
from timer_service.providers.sending import Sender

PROVIDERS: dict[ProviderName, Provider] = {
    ProviderName.META: meta.PROVIDER,
    ProviderName.BAILEYS: baileys.PROVIDER,
    ProviderName.TWILIO: twilio.PROVIDER,
    ProviderName.WAHA: waha.PROVIDER,
}

SENDERS: dict[ProviderName, Sender] = {
    ProviderName.META: meta_sending.SENDER,
    ProviderName.BAILEYS: baileys_sending.SENDER,
    ProviderName.TWILIO: twilio_sending.SENDER,
    ProviderName.WAHA: waha_sending.SENDER,
}
