"""The gateways we can read, send by, manage and get files from, by name."""

from __future__ import annotations

from timer_service.messages import ProviderName
from timer_service.providers import (
    baileys,
    baileys_control,
    baileys_media,
    baileys_sending,
    meta,
    meta_control,
    meta_media,
    meta_sending,
    twilio,
    twilio_control,
    twilio_media,
    twilio_sending,
    waha,
    waha_control,
    waha_media,
    waha_sending,
)
from timer_service.providers.base import Provider
from timer_service.providers.control import Control, DeviceControl
from timer_service.providers.fetching import MediaSource
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

CONTROLS: dict[ProviderName, Control] = {
    ProviderName.META: meta_control.CONTROL,
    ProviderName.BAILEYS: baileys_control.CONTROL,
    ProviderName.TWILIO: twilio_control.CONTROL,
    ProviderName.WAHA: waha_control.CONTROL,
}

MEDIA_SOURCES: dict[ProviderName, MediaSource] = {
    ProviderName.META: meta_media.SOURCE,
    ProviderName.BAILEYS: baileys_media.SOURCE,
    ProviderName.TWILIO: twilio_media.SOURCE,
    ProviderName.WAHA: waha_media.SOURCE,
}

DEVICE_CONTROLS: dict[ProviderName, DeviceControl] = {
    ProviderName.BAILEYS: baileys_control.CONTROL,
    ProviderName.WAHA: waha_control.CONTROL,
}
