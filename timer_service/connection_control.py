"""Manages connections at their gateways: links devices, asks how they are, checks credentials.

Called by the API, the shell, the console and the job that asks gateways of which nothing was heard.
It has `gateway_talks` perform the flows of ``providers/*_control.py`` and stores what they tell.
"""

from __future__ import annotations

import secrets as random_secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import RowMapping

from timer_service.administration import Administration
from timer_service.clock import utc_now
from timer_service.database import Database
from timer_service.errors import (
    ConfigurationError,
    Conflict,
    GatewayFailed,
    InvalidInput,
    NotFound,
)
from timer_service.gateway_http import LARGEST_ANSWER, GatewayHttp
from timer_service.gateway_talks import GatewayTalks
from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import (
    ConnectionState,
    ConnectionUpdate,
    ProviderName,
    StatusReason,
)
from timer_service.phone_numbers import read_customer
from timer_service.providers import CONTROLS, DEVICE_CONTROLS
from timer_service.providers.control import (
    Checked,
    DeviceControl,
    Finding,
    Flow,
    Hook,
    PeoplePage,
)
from timer_service.providers.sending import Account
from timer_service.records import businesses, connections
from timer_service.resources import (
    CheckFinding,
    Connection,
    ConnectionCheck,
    PairingCode,
    QrCode,
    WebhookSetUp,
)
from timer_service.secret_box import SecretBox
from timer_service.status_reasons import explain

log = structlog.get_logger(__name__)

ACT_WITHIN_S = 8.0
"""All that a set-up may take: more than the five seconds Evolution waits before it answers one, and
less than what web gives an answer (`slow_senders`)."""
ASK_WITHIN_S = 5.0
PAGE_WITHIN_S = 20.0
QR_LIVES_S = 20
"""WhatsApp replaces a code after 20 s (the first after 60), and no gateway tells how old it is."""
QR_ASK_AGAIN_S = 4
LARGEST_PAGE = 8 * 1024 * 1024

# What says how a connection is, and not only that we could not ask.
_TELLING = {
    StatusReason.NOT_THERE: ConnectionState.REMOVED,
    StatusReason.LICENCE: ConnectionState.FAILED,
}
_PROOF_KINDS = {ProviderName.WAHA: ("hmac_key",), ProviderName.BAILEYS: ("token", "jwt_key")}

T = TypeVar("T")
Start = Callable[[DeviceControl, Account], Flow[T]]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection with its secrets."""

    id: ConnectionId
    business_id: BusinessId
    provider: ProviderName
    status: str
    account: Account
    secrets: Mapping[str, str]
    country: str | None


class ConnectionControl:
    """Manages connections at their gateways.

    Every method raises ``NotFound`` where there is no such connection in the business, ``Conflict``
    where its kind or state does not allow the call, ``GatewayFailed`` with the reason where the
    gateway did not do it, and ``GatewaysBusy`` where too many are asked already.
    """

    def __init__(
        self,
        database: Database,
        *,
        administration: Administration,
        secret_box: SecretBox,
        gateways: GatewayHttp,
        public_url: str,
    ) -> None:
        self._database = database
        self._administration = administration
        self._secret_box = secret_box
        self._talks = GatewayTalks(gateways)
        self._public_url = public_url.rstrip("/")

    def create(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Make the account at the gateway, with our webhook, and start it; safe to repeat."""
        opened = self._open(business_id, connection_id)
        hook, opened, _ = self._hook(opened)
        return self._change(opened, lambda control, account: control.create(account, hook))

    def start(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Begin to link, or to connect again."""
        opened = self._open(business_id, connection_id)
        return self._change(opened, lambda control, account: control.start(account))

    def stop(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Stop without losing the link; not at Evolution, which has no such thing."""
        opened = self._open(business_id, connection_id)
        return self._change(opened, lambda control, account: control.stop(account))

    def restart(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Connect anew."""
        opened = self._open(business_id, connection_id)
        return self._change(opened, lambda control, account: control.restart(account))

    def log_out(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Unlink the device; the account stays at the gateway."""
        opened = self._open(business_id, connection_id)
        return self._change(opened, lambda control, account: control.log_out(account))

    def remove(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Delete the account at the gateway; the connection stays here, as ``removed``."""
        opened = self._open(business_id, connection_id)
        return self._change(opened, lambda control, account: control.remove(account))

    def refresh(self, business_id: BusinessId, connection_id: UUID) -> Connection:
        """Ask the gateway how the connection is. That it does not tell is an answer too."""
        opened = self._open(business_id, connection_id)
        try:
            return self._change(
                opened, lambda control, account: control.ask(account), within_s=ASK_WITHIN_S
            )
        except GatewayFailed:
            return self._administration.connection(business_id, connection_id)

    def qr(self, business_id: BusinessId, connection_id: UUID) -> QrCode:
        """Return the QR code to scan now; ``text`` is None where there is none."""
        opened = self._open(business_id, connection_id)
        found = self._perform(opened, lambda control, account: control.qr(account))
        update = found.update
        if update is not None:
            self._note(opened, update)
        text = found.text
        reason = None if update is None or update.reason is None else update.reason.value
        expires_at = utc_now() + timedelta(seconds=QR_LIVES_S)
        return QrCode(
            status=opened.status if update is None else update.state.value,
            status_reason=explain(reason),
            text=text,
            expires_at=None if text is None else expires_at,
            ask_again_s=QR_ASK_AGAIN_S,
        )

    def pairing_code(
        self, business_id: BusinessId, connection_id: UUID, phone_number: str
    ) -> PairingCode:
        """Return a code that links the phone with that number; local forms are understood.

        Raises:
            InvalidInput: no phone number.
        """
        opened = self._open(business_id, connection_id)
        phone = read_customer(phone_number, opened.country, field="phone_number").phone
        if phone is None or phone.startswith("0"):
            raise InvalidInput(
                "expected a number with its country, or a business with its country set",
                field="phone_number",
            )
        code = self._perform(opened, lambda control, account: control.pairing_code(account, phone))
        if not code:
            raise Conflict("the gateway gave no code: it links a phone only while none is linked")
        return PairingCode(code=code)

    def set_up_webhook(self, business_id: BusinessId, connection_id: UUID) -> WebhookSetUp:
        """Have the gateway send its events here; makes the secret where there is none."""
        opened = self._open(business_id, connection_id)
        hook, opened, was_made = self._hook(opened)
        made = self._perform(opened, lambda control, account: control.set_up_webhook(account, hook))
        log.info("webhook_set_up", connection_id=str(opened.id), changed=made.has_changed)
        return WebhookSetUp(
            webhook_url=hook.url,
            events=list(made.events),
            retries=None if made.retries is None else dict(made.retries),
            proof=hook.kind,
            made_secret=was_made,
            changed=made.has_changed,
        )

    def check(self, business_id: BusinessId, connection_id: UUID) -> ConnectionCheck:
        """Find out what is wrong with a connection, and say it in plain words."""
        opened = self._open(business_id, connection_id, needs_device=False)
        control = CONTROLS[opened.provider]
        base = self._public_url
        if opened.provider in DEVICE_CONTROLS:
            base = self._webhook_base(opened)
        try:
            checked = self._run(opened, control.check(opened.account, base), ACT_WITHIN_S)
        except GatewayFailed as error:
            checked = Checked((Finding(StatusReason(error.reason)),))
        else:
            self._note(opened, checked.update or _state_of(checked))
        findings = [
            CheckFinding(
                code=one.reason.value,
                severity="error" if one.is_error else "warning",
                message=explain(one.reason.value) or "",
            )
            for one in checked.findings
        ]
        is_ok = not any(one.is_error for one in checked.findings)
        return ConnectionCheck(ok=is_ok, findings=findings, facts=dict(checked.facts))

    def ask(self, connection_id: ConnectionId) -> None:
        """Ask a gateway of which nothing was heard for long; what goes wrong is stored.

        Without an ``api_key`` it is not asked any more: its webhooks alone tell of it.
        """
        with self._database.transaction() as db:
            business_id = connections.owner_of(db, connection_id)
        try:
            opened = None if business_id is None else self._open(business_id, connection_id)
        except (Conflict, ConfigurationError, NotFound):
            opened = None
        if opened is None or "api_key" not in opened.secrets:
            with self._database.transaction() as db:
                connections.ask_never(db, connection_id)
            return
        self.refresh(opened.business_id, connection_id)

    def people(self, connection_id: ConnectionId, cursor: str) -> PeoplePage:
        """Read a page of the gateway's contacts."""
        with self._database.transaction() as db:
            business_id = connections.owner_of(db, connection_id)
        if business_id is None:
            raise NotFound(f"there is no connection {connection_id}")
        opened = self._open(business_id, connection_id)
        control = DEVICE_CONTROLS[opened.provider]
        flow = control.people(opened.account, cursor)
        return self._run(opened, flow, PAGE_WITHIN_S, largest=LARGEST_PAGE)

    def business_of(self, connection_id: UUID) -> BusinessId:
        """Return whose connection it is, for whoever holds the server.

        Raises:
            NotFound: there is none.
        """
        with self._database.transaction() as db:
            business_id = connections.owner_of(db, connection_id)
        if business_id is None:
            raise NotFound(f"there is no connection {connection_id}")
        return business_id

    def require_device(self, business_id: BusinessId, connection_id: UUID) -> None:
        """Check that a connection is of a gateway that links a device and can be asked.

        Raises:
            NotFound, Conflict: it is not.
        """
        self._open(business_id, connection_id)

    def _open(
        self, business_id: BusinessId, connection_id: UUID, *, needs_device: bool = True
    ) -> _Opened:
        with self._database.transaction() as db:
            row = connections.get(db, business_id, connection_id)
            business = businesses.get(db, business_id)
        if row is None or business is None:
            raise NotFound(f"there is no connection {connection_id}")
        provider = ProviderName(row["provider"])
        if needs_device and provider not in DEVICE_CONTROLS:
            raise Conflict(
                f"connection {connection_id} is of {provider.value}, which links no device: "
                "check it instead"
            )
        if provider in DEVICE_CONTROLS and not row["base_url"]:
            raise Conflict(
                f"connection {connection_id} has no base_url: expected the gateway's address"
            )
        return self._opened(row, business["country"])

    def _opened(self, row: RowMapping, country: str | None) -> _Opened:
        secrets = self._secret_box.open(row["business_id"], row["id"], row["secrets"])
        return _Opened(
            id=ConnectionId(row["id"]),
            business_id=BusinessId(row["business_id"]),
            provider=ProviderName(row["provider"]),
            status=row["status"],
            account=Account(row["external_id"], row["base_url"], secrets),
            secrets=secrets,
            country=country,
        )

    def _hook(self, opened: _Opened) -> tuple[Hook, _Opened, bool]:
        """Return our webhook with the secret that proves origin, making one where none is kept."""
        kinds = _PROOF_KINDS[opened.provider]
        kind = next((one for one in kinds if opened.secrets.get(one)), None)
        if kind is not None:
            return self._hook_of(opened, kind), opened, False
        made = {kinds[0]: random_secrets.token_urlsafe(32)}
        self._administration.change_connection(opened.business_id, opened.id, {"secrets": made})
        log.info("proof_secret_made", connection_id=str(opened.id), kind=kinds[0])
        opened = self._open(opened.business_id, opened.id)
        return self._hook_of(opened, kinds[0]), opened, True

    def _hook_of(self, opened: _Opened, kind: str) -> Hook:
        secret = opened.secrets[kind]
        if not (secret.isascii() and secret.isprintable()):
            raise Conflict(f"the secret {kind} must be of printable ASCII to be sent in a header")
        return Hook(self._webhook_base(opened), kind, secret)

    def _webhook_base(self, opened: _Opened) -> str:
        return f"{self._public_url}/webhooks/{opened.provider.value}/{opened.id}"

    def _change(
        self,
        opened: _Opened,
        start: Start[ConnectionUpdate],
        *,
        within_s: float = ACT_WITHIN_S,
    ) -> Connection:
        self._note(opened, self._perform(opened, start, within_s=within_s))
        return self._administration.connection(opened.business_id, opened.id)

    def _perform(self, opened: _Opened, start: Start[T], *, within_s: float = ACT_WITHIN_S) -> T:
        control = DEVICE_CONTROLS[opened.provider]
        return self._run(opened, start(control, opened.account), within_s)

    def _run(
        self, opened: _Opened, flow: Flow[T], within_s: float, *, largest: int = LARGEST_ANSWER
    ) -> T:
        """Perform a flow; why it failed is stored with the connection."""
        try:
            return self._talks.perform(opened.business_id, flow, within_s=within_s, largest=largest)
        except GatewayFailed as error:
            log.warning("gateway_failed", connection_id=str(opened.id), reason=error.reason)
            self._note_failure(opened, StatusReason(error.reason))
            raise

    def _note(self, opened: _Opened, update: ConnectionUpdate) -> None:
        with self._database.transaction() as db:
            is_new = connections.note_state(db, opened.id, update)
        if is_new:
            log.info(
                "connection_state",
                connection_id=str(opened.id),
                state=update.state.value,
                reason=None if update.reason is None else update.reason.value,
            )

    def _note_failure(self, opened: _Opened, reason: StatusReason) -> None:
        state = _TELLING.get(reason) if opened.provider in DEVICE_CONTROLS else None
        was_never_there = (
            state is ConnectionState.REMOVED and opened.status == ConnectionState.NEW.value
        )
        if state is not None and not was_never_there:
            self._note(opened, ConnectionUpdate(state=state, reason=reason))
            return
        with self._database.transaction() as db:
            connections.note_trouble(db, opened.id, reason)


def _state_of(checked: Checked) -> ConnectionUpdate:
    """Return what a check says of a connection that links no device."""
    error = next((one.reason for one in checked.findings if one.is_error), None)
    state = ConnectionState.CONNECTED if error is None else ConnectionState.FAILED
    return ConnectionUpdate(state=state, reason=error)
