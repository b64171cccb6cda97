"""The gateways we can read, by name."""

from __future__ import annotations

from timer_service.messages import ProviderName
from timer_service.providers import baileys, meta, twilio, waha
from timer_service.providers.base import Provider

PROVIDERS: dict[ProviderName, Provider] = {
    ProviderName.META: meta.PROVIDER,
    ProviderName.BAILEYS: baileys.PROVIDER,
    ProviderName.TWILIO: twilio.PROVIDER,
    ProviderName.WAHA: waha.PROVIDER,
}
