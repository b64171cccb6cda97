"""Proof of origin for Baileys gateways: a shared token, or Evolution API's signed header.

``baileys`` calls this. None of these gateways signs the body, so a secret in the path or in a
header is all there is. Source: Evolution API's webhook controller, read August 2026.
"""

from __future__ import annotations

import jwt
from jwt.algorithms import HMACAlgorithm

from timer_service.errors import MalformedPayload
from timer_service.providers.base import WebhookRequest
from timer_service.providers.json_body import JsonObject, as_object, read_json
from timer_service.providers.proof import is_same_secret

_LEEWAY_S = 30
_ALGORITHM = "HS256"


class _AnyLengthHmac(HMACAlgorithm):
    """HS256 without PyJWT's warning about short keys: the key is chosen at the gateway."""

    def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002  # the library's signature
        return None


def _make_verifier() -> jwt.PyJWS:
    verifier = jwt.PyJWS(algorithms=[])
    verifier.register_algorithm(_ALGORITHM, _AnyLengthHmac(HMACAlgorithm.SHA256))
    return verifier


_VERIFIER = _make_verifier()


def has_token(request: WebhookRequest, token: object) -> bool:
    """Tell whether the token stands first in the path or in one of the headers.

    ``apikey``, ``Authorization`` (with or without ``Bearer``) or ``X-Internal-Secret``.
    """
    offered = (
        next(iter(request.path_parts), None),
        request.headers.get("apikey"),
        request.headers.get("x-internal-secret"),
        bearer_of(request),
    )
    matches = [is_same_secret(token, candidate) for candidate in offered]
    return any(matches)


def bearer_of(request: WebhookRequest) -> str:
    """Return what ``Authorization`` holds, without the word ``Bearer``."""
    value = request.headers.get("authorization", "").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value


def is_evolution_jwt(token: str, key: object, *, now_s: float) -> bool:
    """Tell whether a JWT is one Evolution API made with ``key``, and not expired at ``now_s``.

    HS256 only; the payload is ``{iat, exp: iat + 600, app: "evolution", action: "webhook"}``, and
    clocks may differ by 30 s. Never raises.
    """
    if not isinstance(key, str) or not key:
        return False
    try:
        payload = _VERIFIER.decode(token, key, algorithms=[_ALGORITHM])
        claims = as_object(read_json(payload))
    except (jwt.PyJWTError, MalformedPayload, ValueError, RecursionError):
        return False
    return (
        claims.get("app") == "evolution"
        and claims.get("action") == "webhook"
        and _instant_s(claims, "exp") + _LEEWAY_S > now_s
        and _instant_s(claims, "iat") - _LEEWAY_S < now_s
    )


def _instant_s(claims: JsonObject, name: str) -> float:
    """Return a claim's instant, the epoch where it has none: an ``exp`` left out is long past."""
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
