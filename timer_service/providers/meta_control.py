"""Checks a number at Meta's Cloud API: token, permission, number, health, subscription.

Source: WhatsApp Business Platform, phone numbers, health status, webhooks (subscribed_apps), error
codes, August 2026. It reads and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from timer_service.messages import StatusReason
from timer_service.providers.control import (
    Checked,
    Finding,
    Flow,
    document_of,
    failed,
    object_of,
    path_part,
)
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_id,
    as_integer,
    as_list,
    as_object,
    as_text,
)
from timer_service.providers.meta_sending import BASE_URL
from timer_service.providers.sending import Account, GatewayAnswer, GatewayRequest

_FIELDS = (
    "display_phone_number,verified_name,code_verification_status,quality_rating,platform_type,"
    "name_status,status,webhook_configuration,health_status"
)
_FACTS = ("display_phone_number", "verified_name", "quality_rating", "name_status", "status")
_TOKEN_CODES = frozenset({0, 190})
_EXPIRED_SUBCODES = frozenset({463})
_PERMISSION_CODES = frozenset({3, 10, *range(200, 300)})
_RATE_CODES = frozenset({4, 17, 32, 613, 80007, 80008})
_BAD_PARAMETER = 100
_NO_SUCH_OBJECT = 33
_POLICY = 368
_SENDING = {
    "LIMITED": Finding(StatusReason.SENDING_LIMITED, is_error=False),
    "BLOCKED": Finding(StatusReason.SENDING_BLOCKED),
}
_ELSEWHERE = frozenset({"NOT_APPLICABLE", "ON_PREMISE"})
_UNREGISTERED = frozenset({"PENDING", "UNVERIFIED", "DISCONNECTED", "DELETED", "MIGRATED"})
_BY_STATUS = {
    "BANNED": Finding(StatusReason.SENDING_BLOCKED),
    "RESTRICTED": Finding(StatusReason.SENDING_LIMITED, is_error=False),
    "FLAGGED": Finding(StatusReason.QUALITY_LOW, is_error=False),
}
_BAD_NAMES = frozenset({"DECLINED", "EXPIRED"})


class MetaControl:
    """The ``Control`` for the Cloud API."""

    def check(self, account: Account, webhook_base: str) -> Flow[Checked]:
        """Read the number, then who is subscribed to its WhatsApp Business Account."""
        path = f"/{path_part(account.external_id)}"
        answer = yield _request(account, f"{path}?fields={_FIELDS}")
        if _codes_of(answer)[0] == _BAD_PARAMETER and _codes_of(answer)[1] != _NO_SUCH_OBJECT:
            answer = yield _request(account, path)  # a version that lacks one of the fields
        if not answer.is_success:
            return Checked((Finding(_fault_of(answer)),))
        number = as_object(document_of(answer))
        findings = [*_of_number(number), *_of_webhook(number, webhook_base)]
        waba_id = _waba_of(number)
        if waba_id is None:
            findings.append(Finding(StatusReason.NOT_CHECKED, is_error=False))
        else:
            answer = yield _request(account, f"/{path_part(waba_id)}/subscribed_apps")
            apps = as_list(object_of(answer).get("data"))
            if not answer.is_success:
                findings.append(Finding(StatusReason.NOT_CHECKED, is_error=False))
            elif not apps:
                findings.append(Finding(StatusReason.APP_NOT_SUBSCRIBED))
        facts = {name: as_text(number.get(name), ID_LIMIT) for name in _FACTS}
        return Checked(tuple(findings), {name: value for name, value in facts.items() if value})


CONTROL = MetaControl()


def _request(account: Account, path: str) -> GatewayRequest:
    headers = {"Authorization": f"Bearer {account.secret('access_token')}"}
    return GatewayRequest(account.url(path, BASE_URL), headers, b"", "GET")


def _codes_of(answer: GatewayAnswer) -> tuple[int | None, int | None]:
    error = as_object(object_of(answer).get("error"))
    return as_integer(error.get("code")), as_integer(error.get("error_subcode"))


def _fault_of(answer: GatewayAnswer) -> StatusReason:
    code, subcode = _codes_of(answer)
    if code in _TOKEN_CODES:
        is_expired = subcode in _EXPIRED_SUBCODES
        return StatusReason.TOKEN_EXPIRED if is_expired else StatusReason.TOKEN_INVALID
    if code in _PERMISSION_CODES:
        return StatusReason.PERMISSION_MISSING
    if code == _BAD_PARAMETER:
        return StatusReason.NUMBER_UNKNOWN
    if code == _POLICY:
        return StatusReason.ACCOUNT_SUSPENDED
    if code in _RATE_CODES:
        raise failed(GatewayAnswer(429, {}, b""))
    raise failed(answer)


def _of_number(number: JsonObject) -> Iterator[Finding]:
    platform, status = as_text(number.get("platform_type")), as_text(number.get("status"))
    if platform in _ELSEWHERE or status in _UNREGISTERED:
        yield Finding(StatusReason.NUMBER_NOT_REGISTERED)
    if status in _BY_STATUS:
        yield _BY_STATUS[status]
    if as_text(number.get("name_status")) in _BAD_NAMES:
        yield Finding(StatusReason.NAME_NOT_APPROVED, is_error=False)
    if as_text(number.get("quality_rating")) == "RED":
        yield Finding(StatusReason.QUALITY_LOW, is_error=False)
    health = as_text(as_object(number.get("health_status")).get("can_send_message"))
    if health in _SENDING and status not in _BY_STATUS:
        yield _SENDING[health]


def _of_webhook(number: JsonObject, webhook_base: str) -> Iterator[Finding]:
    """Look where events go: the number's own address, else the account's, else the app's."""
    configured = as_object(number.get("webhook_configuration"))
    names = ("phone_number", "whatsapp_business_account", "application")
    urls = [url for url in (as_text(configured.get(name)) for name in names) if url]
    if urls and not urls[0].startswith(webhook_base):
        yield Finding(StatusReason.WEBHOOK_ELSEWHERE, is_error=False)


def _waba_of(number: JsonObject) -> str | None:
    entities = as_list(as_object(number.get("health_status")).get("entities"))
    found = (as_object(one) for one in entities)
    return next((as_id(one.get("id")) for one in found if one.get("entity_type") == "WABA"), None)
