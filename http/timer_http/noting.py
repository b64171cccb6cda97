"""Notes in a business's journal what requests changed, whichever surface they came by.

One table says which views are worth an entry; it is written once the answer is a success. A view
may leave what only it knows in `tell_journal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from flask import Flask, Response, g, request

from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.ids import BusinessId
from timer_service.journal import EventKind

_NOTED = {
    "api_keys.add_key": (EventKind.KEY_MADE, None),
    "api_keys.revoke_key": (EventKind.KEY_REVOKED, "key_id"),
    "businesses.change_business": (EventKind.SETTINGS_CHANGED, None),
    "connections.add_connection": (EventKind.CONNECTION_ADDED, None),
    "connections.change_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.create_at_gateway": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.delete_connection": (EventKind.CONNECTION_REMOVED, "connection_id"),
    "connections.log_out_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.remove_at_gateway": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.restart_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.set_up_webhook": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.start_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "connections.stop_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "console.act_at_gateway": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "console.add_connection": (EventKind.CONNECTION_ADDED, None),
    "console.add_key": (EventKind.KEY_MADE, None),
    "console.change_connection": (EventKind.CONNECTION_CHANGED, "connection_id"),
    "console.change_idle_gap": (EventKind.SETTINGS_CHANGED, None),
    "console.change_summaries": (EventKind.SETTINGS_CHANGED, None),
    "console.change_user_role": (EventKind.USER_ROLE_CHANGED, "person_id"),
    "console.choose_default": (EventKind.SETTINGS_CHANGED, None),
    "console.invite_user": (EventKind.USER_INVITED, None),
    "console.remove_connection": (EventKind.CONNECTION_REMOVED, "connection_id"),
    "console.remove_user": (EventKind.USER_REMOVED, "person_id"),
    "console.revoke_key": (EventKind.KEY_REVOKED, "key_id"),
    "console.withdraw_invitation": (EventKind.INVITATION_WITHDRAWN, None),
}
"""By view: what it is called in the journal, and which part of its address it is about."""


@dataclass(frozen=True, slots=True)
class _Told:
    subject_id: UUID | None
    detail: str


def init_app(app: Flask) -> None:
    """Note what the requests of an application change."""
    app.after_request(_note)


def tell_journal(*, subject_id: UUID | None = None, detail: str = "") -> None:
    """Say what this request's entry is about, where its address does not."""
    g.told_journal = _Told(subject_id, detail)


def _note(response: Response) -> Response:
    noted = _NOTED.get(request.endpoint or "")
    if noted is None or response.status_code >= HTTPStatus.BAD_REQUEST:
        return response
    kind, argument = noted
    caller: Caller | None = g.get("caller") or g.get("timer_caller")
    owner = _business_of(caller)
    if caller is not None and owner is not None:
        told: _Told = g.get("told_journal", _Told(None, ""))
        named = (request.view_args or {}).get(argument or "")
        current_services().journal.note(
            owner,
            kind,
            caller,
            subject_id=told.subject_id or _as_id(named),
            detail=told.detail,
        )
    return response


def _business_of(caller: Caller | None) -> BusinessId | None:
    """Return the business the request was about: a key's own, or the one that was named."""
    if caller is not None and caller.business_id is not None:
        return caller.business_id
    arguments = request.view_args or {}
    named = _as_id(arguments.get("business_id") or request.args.get("business_id"))
    return None if named is None else BusinessId(named)


def _as_id(value: object) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        return None
