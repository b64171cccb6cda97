"""WhatsApp's service window: when a business may answer a customer in words of its own.

The rule itself, for whoever asks (`outgoing`), reads (`records`) or shows (`resources`) it. Only
WhatsApp's own API has it: Meta's, and Twilio's on top of it. A click on an ad widens nothing: the
72 hours it may open are free of charge, and what is written in them still needs this window, or is
a template. Source: Meta, pricing and customer service windows, read November 2026.
"""

from __future__ import annotations

from datetime import timedelta

from timer_service.messages import ProviderName

LASTS = timedelta(hours=24)
"""How long after a customer's message free text is taken."""
PROVIDERS = frozenset({ProviderName.META, ProviderName.TWILIO})
PROVIDERS_IN_SQL = ", ".join(f"'{one.value}'" for one in sorted(PROVIDERS))
