"""What a gateway of the demo posts, as the service's parsers get it: proven, then read."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from timer_service.demo.gateway import Gateway, Webhook
from timer_service.messages import ParsedItem
from timer_service.providers import PROVIDERS
from timer_service.providers.base import ParseContext, WebhookRequest


def request_of(gateway: Gateway, webhook: Webhook, url: str) -> WebhookRequest:
    """Return the request as the service would see it: lower-case headers, the token in the path."""
    in_path = (gateway.secrets["token"],) if "token" in gateway.secrets else ()
    headers = {name.lower(): value for name, value in webhook.headers.items()}
    query = dict(parse_qsl(urlsplit(url).query))
    return WebhookRequest(webhook.body, headers, query, in_path, url)


def items_of(gateway: Gateway, webhook: Webhook, url: str) -> list[ParsedItem]:
    """Return what a webhook says, once it has proven itself."""
    request = request_of(gateway, webhook, url)
    provider = PROVIDERS[gateway.provider]
    assert provider.is_authentic(request, gateway.secrets)
    return provider.parse(request, ParseContext())
