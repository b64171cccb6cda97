"""Links devices by WAHA's HTTP API: sessions, QR codes, webhooks, contacts.

Source: waha.devlike.pro, sessions, events, contacts, read August 2026. A session is what we call a
connection's account.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from timer_service.messages import (
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    StatusReason,
)
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
    failed,
    object_of,
    path_part,
    qr_text_of,
)
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_contact_ids,
    as_list,
    as_object,
    as_text,
    is_true,
)
from timer_service.providers.sending import Account, GatewayAnswer, GatewayRequest, json_request
from timer_service.providers.waha_session import session_update
from timer_service.status_reasons import gateway_failed

EVENTS = (
    "message.any",  # `message` has no answers from the phone
    "message.ack",
    "message.reaction",
    "message.edited",
    "message.revoked",
    "message.waiting",
    "poll.vote",
    "poll.vote.failed",
    "session.status",
)
RETRIES: Mapping[str, str | int] = {"policy": "exponential", "delaySeconds": 2, "attempts": 15}
"""By default WAHA gives up after half a minute."""
_CONFIG: Mapping[str, Any] = {
    "ignore": {"status": True, "groups": True, "channels": True, "broadcast": True},
    "noweb": {"store": {"enabled": True, "fullSync": False}},  # or there are no contacts
}


class WahaControl:
    """The ``DeviceControl`` for WAHA."""

    def create(self, account: Account, hook: Hook) -> Flow[ConnectionUpdate]:
        """Make ``POST /api/sessions``; a session that is there gets our webhook and is started."""
        config = {**_CONFIG, "webhooks": [_webhook(hook)]}
        body = {"name": account.external_id, "start": True, "config": config}
        answer = yield _request(account, "POST", "/api/sessions", body)
        if answer.is_success:
            return (yield from self.ask(account))
        if answer.status not in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT}:
            raise failed(answer)
        yield from self.set_up_webhook(account, hook)
        return (yield from self.start(account))

    def start(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``POST …/start``, which does nothing to a session that runs."""
        return (yield from self._act(account, "start"))

    def stop(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``POST …/stop``; the link stays."""
        return (yield from self._act(account, "stop"))

    def restart(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``POST …/restart``."""
        return (yield from self._act(account, "restart"))

    def log_out(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``POST …/logout``; WAHA starts a running session anew, which then wants a QR."""
        return (yield from self._act(account, "logout"))

    def remove(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``DELETE /api/sessions/{session}``, which stops and logs out too."""
        answer = yield _request(account, "DELETE", _session(account))
        if not answer.is_success and answer.status != HTTPStatus.NOT_FOUND:
            raise failed(answer)
        return ConnectionUpdate(state=ConnectionState.REMOVED)

    def ask(self, account: Account) -> Flow[ConnectionUpdate]:
        """Make ``GET /api/sessions/{session}`` and read its status."""
        document = yield from self._session(account)
        return _update_of(document)

    def qr(self, account: Account) -> Flow[QrText]:
        """Make ``GET /api/{session}/auth/qr?format=raw``; 422 names another status."""
        path = f"/api/{path_part(account.external_id)}/auth/qr?format=raw"
        answer = yield _request(account, "GET", path)
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            update = session_update(as_text(object_of(answer).get("status")), None)
            return QrText(update or (yield from self.ask(account)))
        if not answer.is_success:
            raise failed(answer)
        text = qr_text_of(as_object(document_of(answer)).get("value"))
        return QrText(session_update("SCAN_QR_CODE", None), text)

    def pairing_code(self, account: Account, phone: str) -> Flow[str]:
        """Make ``POST /api/{session}/auth/request-code``."""
        path = f"/api/{path_part(account.external_id)}/auth/request-code"
        answer = yield _request(account, "POST", path, {"phoneNumber": phone})
        if not answer.is_success:
            raise failed(answer)
        return as_text(as_object(document_of(answer)).get("code"), ID_LIMIT)

    def set_up_webhook(self, account: Account, hook: Hook) -> Flow[HookSet]:
        """Put our webhook into the session's config; a change restarts the session.

        WAHA takes whole configs only, so the rest is what it just answered.
        """
        config = as_object((yield from self._session(account)).get("config"))
        found = [as_object(one) for one in as_list(config.get("webhooks"))]
        others = [one for one in found if not _is_ours(one, hook)]
        wanted = _webhook(hook)
        if [_essence(one) for one in found if _is_ours(one, hook)] == [_essence(wanted)]:
            return HookSet(EVENTS, RETRIES, has_changed=False)
        whole = {**config, "webhooks": [*others, wanted]}
        body = {"name": account.external_id, "config": whole}
        answer = yield _request(account, "PUT", _session(account), body)
        if not answer.is_success:
            raise failed(answer)
        return HookSet(EVENTS, RETRIES, has_changed=True)

    def people(self, account: Account, cursor: str) -> Flow[PeoplePage]:
        """Read a page of ``/api/contacts/all``, and after its last those of ``/lids``.

        The cursor is the list, how far it was read, and the digest of the page before:
        ``contacts:100:9f86d081884c7d65``.
        """
        name, offset, before = (cursor or "contacts:0:").split(":")
        is_contacts = name == "contacts"
        query: dict[str, str | int] = {"limit": CONTACTS_PAGE, "offset": int(offset)}
        path = f"/api/{path_part(account.external_id)}/lids"
        if is_contacts:
            query |= {"session": account.external_id, "sortBy": "id", "sortOrder": "asc"}
            path = "/api/contacts/all"
        answer: GatewayAnswer = yield _request(account, "GET", f"{path}?{urlencode(query)}")
        if not answer.is_success and is_contacts:
            raise failed(answer)
        # Old versions and some engines have no list of pairs.
        rows = [as_object(one) for one in as_list(document_of(answer) if answer.is_success else ())]
        digest = digest_of(f"{row.get('id') or row.get('lid')}" for row in rows)
        if digest == before:
            rows = []
        read = _person if is_contacts else _pair
        people = tuple(person for person in map(read, rows) if person is not None)
        following = "lids:0:" if is_contacts else None
        if len(rows) == CONTACTS_PAGE:  # one that knows no pages answers more, or the same again
            following = f"{name}:{int(offset) + len(rows)}:{digest}"
        return PeoplePage(people, len(rows) - len(people), following)

    def check(self, account: Account, webhook_base: str) -> Flow[Checked]:
        """Ask for the session: that tells of the server, the key, the session and its webhook."""
        document = yield from self._session(account)
        update = _update_of(document)
        webhooks = as_list(as_object(document.get("config")).get("webhooks"))
        urls = [as_text(as_object(one).get("url")) for one in webhooks]
        findings = []
        if update.reason is not None:
            findings.append(Finding(update.reason))
        if not any(url.startswith(webhook_base) for url in urls):
            findings.append(Finding(StatusReason.WEBHOOK_NOT_SET, is_error=False))
        engine = as_text(as_object(document.get("engine")).get("engine"), ID_LIMIT)
        return Checked(tuple(findings), {"engine": engine} if engine else {}, update)

    def _act(self, account: Account, action: str) -> Flow[ConnectionUpdate]:
        answer = yield _request(account, "POST", f"{_session(account)}/{action}")
        if not answer.is_success:
            raise failed(answer)
        return (yield from self.ask(account))

    def _session(self, account: Account) -> Flow[JsonObject]:
        answer = yield _request(account, "GET", _session(account))
        if not answer.is_success:
            raise failed(answer)
        return as_object(document_of(answer))


CONTROL = WahaControl()


def _request(
    account: Account, method: str, path: str, document: Mapping[str, Any] | None = None
) -> GatewayRequest:
    # A WAHA may run without a key, on a network of its own.
    headers = {"X-Api-Key": account.secret("api_key")} if "api_key" in account.secrets else {}
    headers["Accept"] = "application/json"
    url = account.url(path)
    if document is None:
        return GatewayRequest(url, headers, b"", method)
    made = json_request(url, headers, document)
    return GatewayRequest(url, made.headers, made.body, method)


def _session(account: Account) -> str:
    return f"/api/sessions/{path_part(account.external_id)}"


def _update_of(session: JsonObject) -> ConnectionUpdate:
    own_number = as_contact_ids(as_object(session.get("me")).get("id")).phone
    update = session_update(as_text(session.get("status")), own_number)
    if update is None:
        raise gateway_failed(StatusReason.NOT_UNDERSTOOD)
    return update


def _webhook(hook: Hook) -> dict[str, Any]:
    return {
        "url": hook.url,
        "events": list(EVENTS),
        "hmac": {"key": hook.secret},
        "retries": dict(RETRIES),
    }


def _is_ours(webhook: JsonObject, hook: Hook) -> bool:
    return as_text(webhook.get("url")) == hook.url


def _essence(webhook: JsonObject) -> object:
    """Return what decides whether a webhook is as we want it, whatever else WAHA adds."""
    hmac, retries = as_object(webhook.get("hmac")), as_object(webhook.get("retries"))
    events = {one for one in as_list(webhook.get("events")) if isinstance(one, str)}
    return events, hmac.get("key"), {name: retries.get(name) for name in RETRIES}


def _person(row: JsonObject) -> Person | None:
    """Read ``{"id": "972…@c.us", "name": "Dana", "pushname": "…", "isMe": false, …}``."""
    if is_true(row.get("isMe")) or is_true(row.get("isGroup")):
        return None
    jid = row.get("id")
    if isinstance(jid, dict):  # WEBJS's own object
        jid = jid.get("_serialized")
    ids = as_contact_ids(jid)
    if "@" not in as_text(jid) or not ids.best:
        return None
    if ids.lid is not None:
        phone = as_contact_ids(row.get("phoneNumber") or row.get("jid")).phone
        ids = ContactIds(phone=phone, lid=ids.lid)
    names = (as_text(row.get(name), ID_LIMIT).strip() for name in ("name", "pushname", "pushName"))
    return Person(ids, next(filter(None, names), None))


def _pair(row: JsonObject) -> Person | None:
    lid, phone = as_contact_ids(row.get("lid")).lid, as_contact_ids(row.get("pn")).phone
    return Person(ContactIds(phone=phone, lid=lid)) if lid and phone else None
