"""Checks a WhatsApp sender at Twilio: login, account, sender, its webhook.

It reads and changes nothing. Source: twilio.com/docs, account resource, Senders API, August 2026.
"""

from __future__ import annotations

import base64
from http import HTTPStatus

from timer_service.messages import StatusReason
from timer_service.providers.control import (
    Checked,
    Finding,
    Flow,
    document_of,
    failed,
    fault_of,
    object_of,
    path_part,
)
from timer_service.providers.json_body import ID_LIMIT, JsonObject, as_list, as_object, as_text
from timer_service.providers.sending import Account, GatewayRequest
from timer_service.providers.twilio_sending import BASE_URL

MESSAGING_URL = "https://messaging.twilio.com"
_MOST_PAGES = 10
_LONGEST_URL = 2_000
_NO_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_ONLINE = frozenset({"ONLINE", "ONLINE:UPDATING"})
_ACCOUNTS = {
    "suspended": Finding(StatusReason.ACCOUNT_SUSPENDED),
    "closed": Finding(StatusReason.ACCOUNT_CLOSED),
}


class TwilioControl:
    """The ``Control`` for WhatsApp at Twilio."""

    def check(self, account: Account, webhook_base: str) -> Flow[Checked]:
        """Read the account, then the list of its WhatsApp senders."""
        sid, _, number = account.external_id.partition(":")
        path = f"/2010-04-01/Accounts/{path_part(sid)}.json"
        answer = yield _request(account, sid, account.url(path, BASE_URL))
        if answer.status in _NO_LOGIN:
            return Checked((Finding(fault_of(answer)),))
        if not answer.is_success:
            raise failed(answer)
        status = as_text(as_object(document_of(answer)).get("status"), ID_LIMIT)
        facts = {"account_status": status} if status else {}
        if status in _ACCOUNTS:
            return Checked((_ACCOUNTS[status],), facts)
        ours = yield from self._sender(account, sid, number)
        if isinstance(ours, Finding):
            return Checked((ours,), facts)
        facts["sender_status"] = as_text(ours.get("status"), ID_LIMIT)
        findings = []
        if facts["sender_status"] not in _ONLINE:
            findings.append(Finding(StatusReason.SENDER_OFFLINE))
        called = as_text(as_object(ours.get("webhook")).get("callback_url"))
        if called and not called.startswith(webhook_base):
            findings.append(Finding(StatusReason.WEBHOOK_ELSEWHERE, is_error=False))
        return Checked(tuple(findings), facts)

    def _sender(self, account: Account, sid: str, number: str) -> Flow[JsonObject | Finding]:
        query = "Channel=whatsapp&PageSize=100"
        for _ in range(_MOST_PAGES):
            url = account.url(f"/v2/Channels/Senders?{query}", MESSAGING_URL)
            answer = yield _request(account, sid, url)
            if not answer.is_success:
                return Finding(StatusReason.NOT_CHECKED, is_error=False)
            document = object_of(answer)
            for one in as_list(document.get("senders")):
                if _id_of(as_object(one)) == f"whatsapp:{number}":
                    return as_object(one)
            # Only what it asks for: the login goes nowhere that an answer names.
            following = as_text(as_object(document.get("meta")).get("next_page_url"), _LONGEST_URL)
            query = following.partition("?")[2].partition("#")[0]
            if not query:
                break
        return Finding(StatusReason.SENDER_UNKNOWN, is_error=False)


CONTROL = TwilioControl()


def _request(account: Account, sid: str, url: str) -> GatewayRequest:
    login = base64.b64encode(f"{sid}:{account.secret('auth_token')}".encode()).decode()
    return GatewayRequest(url, {"Authorization": f"Basic {login}"}, b"", "GET")


def _id_of(sender: JsonObject) -> str:
    return as_text(sender.get("sender_id"), ID_LIMIT) or as_text(sender.get("senderId"), ID_LIMIT)
