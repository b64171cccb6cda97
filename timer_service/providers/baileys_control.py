"""Links devices by the Evolution API: instances, QR codes, webhooks, contacts.

Source: evolution-api 2.1 to 2.4, instance, webhook and chat controllers, read August 2026. Other
programs around Baileys have no such interface in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from timer_service.errors import Conflict, GatewayFailed
from timer_service.messages import (
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    StatusReason,
)
from timer_service.providers.baileys_connection import WAITING_QR, closed_update
from timer_service.providers.control import (
    CONTACTS_PAGE,
    Checked,
    Finding,
    Flow,
    Hook,
    HookSet,
    PeoplePage,
    Person,
    QrText,
    digest_of,
    document_of,
    fault_of,
    object_of,
    path_part,
    qr_text_of,
)
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_contact_ids,
    as_integer,
    as_list,
    as_object,
    as_text,
    is_true,
)
from timer_service.providers.sending import Account, GatewayAnswer, GatewayRequest, json_request
from timer_service.status_reasons import gateway_failed

EVENTS = (  # those that every version knows: it refuses a list with another in it
    "QRCODE_UPDATED",
    "CONNECTION_UPDATE",
    "STATUS_INSTANCE",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
    "INSTANCE_DELETE",
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_EDITED",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
)
_INSTANCE: Mapping[str, Any] = {
    "integration": "WHATSAPP-BAILEYS",
    "qrcode": True,
    "groupsIgnore": True,
    "syncFullHistory": False,
    "readMessages": False,
}
_CONNECTED = ConnectionUpdate(state=ConnectionState.CONNECTED)
_CONNECTING = ConnectionUpdate(state=ConnectionState.CONNECTING)
_NOT_LINKED = ConnectionUpdate(state=ConnectionState.LOGGED_OUT, reason=StatusReason.NOT_LINKED)
_UNLINKED = ConnectionUpdate(state=ConnectionState.LOGGED_OUT, reason=StatusReason.UNLINKED)


class BaileysControl:
    """The ``DeviceControl`` for Baileys behind the Evolution API."""

    def create(self, account: Account, hook: Hook) -> Flow[ConnectionUpdate]:
        """Make ``POST /instance/create``; an instance that is there gets our webhook and starts.

        Evolution answers after some five seconds, with the first QR code.
        """
        body = {"instanceName": account.external_id, **_INSTANCE, "webhook": _webhook(hook)}
        answer = yield _request(account, "POST", "/instance/create", body)
        if answer.is_success:
            qr = as_object(object_of(answer).get("qrcode"))
            return WAITING_QR if qr.get("code") else _CONNECTING
        # A name in use is 403, which is also a key that may not: the next call tells.
        if answer.status != HTTPStatus.FORBIDDEN:
            raise _failed(answer)
        yield from self.set_up_webhook(account, hook)
        return (yield from self.start(account))

    def start(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``GET /instance/connect/{instance}``, which does nothing to one that is linked."""
        return _linking(_checked((yield _request(account, "GET", _path("connect", account)))))

    def stop(self, account: Account) -> Flow[ConnectionUpdate]:  # noqa: ARG002 - all have it
        """Refuse: an instance is connected or logged out.

        Raises:
            Conflict: always.
        """
        yield from ()
        raise Conflict("the Evolution API stops no instance: log it out, or remove it")

    def restart(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``POST /instance/restart/{instance}``; one that is closed is started instead."""
        answer = yield _request(account, "POST", _path("restart", account))
        document = object_of(answer)
        if answer.status == HTTPStatus.BAD_REQUEST or is_true(document.get("error")):
            return (yield from self.start(account))
        return _linking(_checked(answer))

    def log_out(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``DELETE /instance/logout/{instance}``; 400 is one that is closed already."""
        answer = yield _request(account, "DELETE", _path("logout", account))
        if not answer.is_success and answer.status != HTTPStatus.BAD_REQUEST:
            raise _failed(answer)
        return _UNLINKED

    def remove(self, account: Account) -> Flow[ConnectionUpdate]:
        """Log out and make ``DELETE /instance/delete/{instance}``: it deletes no linked one."""
        yield _request(account, "DELETE", _path("logout", account))
        answer = yield _request(account, "DELETE", _path("delete", account))
        if not answer.is_success and answer.status != HTTPStatus.NOT_FOUND:
            raise _failed(answer)
        return ConnectionUpdate(state=ConnectionState.REMOVED)

    def ask(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``GET /instance/connectionState/{instance}``, and what tells more of the answer.

        Of one that connects ``connect`` answers the code that is shown, and changes nothing.
        """
        document = _checked((yield _request(account, "GET", _path("connectionState", account))))
        state = as_text(as_object(document.get("instance")).get("state"))
        if state == "open":
            return _CONNECTED
        if state == "connecting":
            shown = yield from self.qr(account)
            return shown.update or _CONNECTING
        if state != "close":  # an old version's word for an instance it does not know
            raise gateway_failed(StatusReason.NOT_THERE)
        return (yield from self._why_closed(account))

    def qr(self, account: Account) -> Flow[QrText]:
        """Make ``GET /instance/connect/{instance}``: of one that waits it is the present code."""
        document = _checked((yield _request(account, "GET", _path("connect", account))))
        found = as_object(document.get("qrcode")) or document
        return QrText(_linking(document), qr_text_of(found.get("code")))

    def pairing_code(self, account: Account, phone: str) -> Flow[str]:
        """Make ``GET /instance/connect/{instance}?number=``.

        One that connects by QR code already gives none: it is logged out first, then asked again.
        """
        path = f"{_path('connect', account)}?number={phone}"
        document = _checked((yield _request(account, "GET", path)))
        code = _pairing_code_of(document)
        if not code and _linking(document) != _CONNECTED:
            yield _request(account, "DELETE", _path("logout", account))
            code = _pairing_code_of(_checked((yield _request(account, "GET", path))))
        return code

    def set_up_webhook(self, account: Account, hook: Hook) -> Flow[HookSet]:
        """Make ``POST /webhook/set/{instance}``; its one webhook becomes ours."""
        path = f"/webhook/set/{path_part(account.external_id)}"
        _checked((yield _request(account, "POST", path, {"webhook": _webhook(hook)})))
        return HookSet(EVENTS, None, has_changed=True)

    def people(self, account: Account, cursor: str) -> Flow[PeoplePage]:
        """Make ``POST /chat/findContacts/{instance}``: its ``offset`` is the length of a page.

        The cursor is the page and the digest of the one before.
        """
        number, _, before = cursor.partition(":")
        page = int(number or 1)
        body = {"where": {}, "page": page, "offset": CONTACTS_PAGE}
        path = f"/chat/findContacts/{path_part(account.external_id)}"
        answer = yield _request(account, "POST", path, body)
        if not answer.is_success:
            raise _failed(answer)
        rows = [as_object(one) for one in as_list(document_of(answer))]
        jids = [as_text(row.get("remoteJid") or row.get("id"), ID_LIMIT) for row in rows]
        digest = digest_of(jids)
        if digest == before:
            return PeoplePage((), 0, None)
        people = tuple(person for person in map(_person, rows) if person is not None)
        following = f"{page + 1}:{digest}" if len(rows) == CONTACTS_PAGE else None
        return PeoplePage(people, len(rows) - len(people), following)

    def check(self, account: Account, webhook_base: str) -> Flow[Checked]:
        """Ask for the state, which tells of server, key and instance, and for its webhook."""
        update = yield from self.ask(account)
        path = f"/webhook/find/{path_part(account.external_id)}"
        answer = yield _request(account, "GET", path)
        webhook = object_of(answer)
        findings = []
        if update.reason is not None:
            findings.append(Finding(update.reason))
        if not answer.is_success:
            findings.append(Finding(StatusReason.NOT_CHECKED, is_error=False))
        elif not _leads_to(webhook, webhook_base):
            findings.append(Finding(StatusReason.WEBHOOK_NOT_SET, is_error=False))
        return Checked(tuple(findings), {}, update)

    def _why_closed(self, account: Account) -> Flow[ConnectionUpdate]:
        path = f"/instance/fetchInstances?instanceName={path_part(account.external_id)}"
        answer = yield _request(account, "GET", path)
        try:
            rows = as_list(document_of(answer)) if answer.is_success else ()
        except GatewayFailed:
            rows = ()
        code = next(
            (as_integer(as_object(row).get("disconnectionReasonCode")) for row in rows), None
        )
        return _NOT_LINKED if code is None else closed_update(code)


CONTROL = BaileysControl()


def _request(
    account: Account, method: str, path: str, document: Mapping[str, Any] | None = None
) -> GatewayRequest:
    headers = {"apikey": account.secret("api_key")}
    url = account.url(path)
    if document is None:
        return GatewayRequest(url, headers, b"", method)
    made = json_request(url, headers, document)
    return GatewayRequest(url, made.headers, made.body, method)


def _path(call: str, account: Account) -> str:
    return f"/instance/{call}/{path_part(account.external_id)}"


def _webhook(hook: Hook) -> dict[str, Any]:
    """Return Evolution's webhook; of ``jwt_key`` it makes a signed header by itself."""
    is_jwt = hook.kind == "jwt_key"
    headers = {"jwt_key": hook.secret} if is_jwt else {"authorization": f"Bearer {hook.secret}"}
    return {
        "enabled": True,
        "url": hook.url,
        "headers": headers,
        "byEvents": False,
        "base64": False,
        "events": list(EVENTS),
    }


def _checked(answer: GatewayAnswer) -> JsonObject:
    """Return the answer's object; Evolution also answers 200 with ``{"error": true}``."""
    if not answer.is_success:
        raise _failed(answer)
    document = as_object(document_of(answer))
    if is_true(document.get("error")):
        is_unknown = "does not exist" in as_text(document.get("message"))
        known = StatusReason.NOT_THERE if is_unknown else StatusReason.GATEWAY_REFUSED
        raise gateway_failed(known)
    return document


def _failed(answer: GatewayAnswer) -> GatewayFailed:
    if as_text(object_of(answer).get("code")) == "LICENSE_REQUIRED":
        return gateway_failed(StatusReason.LICENCE)
    return gateway_failed(fault_of(answer))


def _linking(document: JsonObject) -> ConnectionUpdate:
    """Read what ``connect`` and ``restart`` answer: a code, an instance that is open, or little."""
    instance = as_object(document.get("instance"))
    if as_text(instance.get("state") or instance.get("status")) == "open":
        return _CONNECTED
    found = as_object(document.get("qrcode")) or document
    return WAITING_QR if found.get("code") else _CONNECTING


def _pairing_code_of(document: JsonObject) -> str:
    found = as_object(document.get("qrcode")) or document
    return as_text(found.get("pairingCode"), ID_LIMIT)


def _leads_to(webhook: JsonObject, base: str) -> bool:
    inner = as_object(webhook.get("webhook")) or webhook
    is_on = inner.get("enabled") is not False
    return is_on and as_text(inner.get("url")).startswith(base)


def _person(row: JsonObject) -> Person | None:
    """Read ``{"remoteJid": "972…@s.whatsapp.net", "pushName": "Dana", "isGroup": false, …}``."""
    jid = as_text(row.get("remoteJid") or row.get("id"), ID_LIMIT)
    ids = as_contact_ids(jid)
    if "@" not in jid or not ids.best or is_true(row.get("isGroup")):
        return None
    other = as_contact_ids(row.get("remoteJidAlt") or row.get("lid"))
    ids = ContactIds(phone=ids.phone or other.phone, lid=ids.lid or other.lid)
    return Person(ids, as_text(row.get("pushName"), ID_LIMIT).strip() or None)
