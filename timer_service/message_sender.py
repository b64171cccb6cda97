"""Sends one queued message, once: its turn, its row, the gateway, and what the answer means.

Called by the send job. The row is taken up before the gateway is asked and no gateway knows a
message from its repetition, so whatever breaks in between leaves it ``unknown``: it is never sent
again by itself.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.exc import IntegrityError

from timer_service import metrics
from timer_service.database import Database
from timer_service.errors import ConfigurationError
from timer_service.gateway_http import GatewayHttp, NoAnswer, NotReached
from timer_service.ids import ConnectionId
from timer_service.job_queue import HANG_GRACE_S, SEND_TIMEOUT_S
from timer_service.media_files import MediaFiles, Shelf
from timer_service.media_links import MediaLinks
from timer_service.messages import ContactIds, Media, ProviderName, SendFailure
from timer_service.providers import SENDERS
from timer_service.providers.sending import (
    Accepted,
    Account,
    CannotSend,
    Outgoing,
    Refused,
    SendAnswer,
    Sender,
    Unclear,
    UploadedFile,
)
from timer_service.records import sends
from timer_service.secret_box import SecretBox
from timer_service.send_pace import SendPace

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=SEND_TIMEOUT_S + HANG_GRACE_S)
"""Longer than any job lives: only a dead worker lets it end."""
RETRY_AFTER_S = (2, 10, 30, 120, 600)
"""Pauses after a refusal that may not last; the next one is final."""
LONGEST_RETRY_AFTER_S = 3600
SOON_S = 0.05
"""What a turn may be early: the queue's own clock is coarser."""


class MessageSender:
    """Sends messages by the gateways of their connections."""

    def __init__(
        self,
        database: Database,
        *,
        secret_box: SecretBox,
        pace: SendPace,
        gateways: GatewayHttp,
        files: MediaFiles | None,
        links: MediaLinks,
        public_url: str,
    ) -> None:
        self._database = database
        self._secret_box = secret_box
        self._pace = pace
        self._gateways = gateways
        self._files = files
        self._links = links
        self._public_url = public_url.rstrip("/")

    def send(self, message_id: UUID, attempt: int) -> float | None:
        """Send a message if it is this attempt's to send.

        Returns the seconds after which to try again, None when there is nothing more to do.

        Raises:
            DatabaseUnavailable, RedisUnavailable: the sweep will see what became of it.
        """
        wait_s = self._wait_for_turn(message_id, attempt)
        if wait_s is None or wait_s > 0:
            return wait_s
        with self._database.transaction() as db:
            started = sends.start(db, message_id, attempt, lease=LEASE)
        if started is None:
            return None
        return self._settle(started, attempt, self._ask(started))

    def _wait_for_turn(self, message_id: UUID, attempt: int) -> float | None:
        """Return 0 when it is the message's turn, else the wait; None if it is not to be sent."""
        with self._database.transaction() as db:
            turn = sends.read_turn(db, message_id, attempt)
        if turn is None:
            return None
        if turn.wait_s is not None:
            return turn.wait_s if turn.wait_s > SOON_S else 0
        pace = SENDERS[ProviderName(turn.provider)].pace
        wait_s = self._pace.take_turn(ConnectionId(turn.connection_id), pace)
        if wait_s > SOON_S:
            with self._database.transaction() as db:
                sends.set_turn(db, message_id, attempt, wait=timedelta(seconds=wait_s))
            return wait_s
        return 0

    def _ask(self, row: RowMapping) -> SendAnswer:
        if row["is_gone"]:
            return Refused(SendFailure.CONNECTION_GONE)
        sender = SENDERS[ProviderName(row["provider"])]
        try:
            message, account = self._message_of(row), self._account_of(row)
            handed = self._hand_over(sender, message, account)
            if isinstance(handed, Refused):
                return handed
            answer = sender.read(self._gateways.post(sender.build(handed, account)))
        except CannotSend as error:
            log.warning(
                "connection_cannot_send",
                connection_id=str(row["connection_id"]),
                cause=str(error),
            )
            answer = Refused(error.failure)
        except ConfigurationError as error:
            log.warning(
                "secrets_not_opened", connection_id=str(row["connection_id"]), cause=str(error)
            )
            answer = Refused(SendFailure.NO_CREDENTIALS)
        except NotReached:
            answer = Refused(SendFailure.UNREACHABLE)
        except NoAnswer:
            answer = Unclear()
        return answer

    def _hand_over(self, sender: Sender, message: Outgoing, account: Account) -> Outgoing | Refused:
        """Give the gateway a message's file first, where it wants that; the message then names it.

        Nothing was sent to anybody yet, so whatever stays unclear here may be tried again.
        """
        if sender.uploader is None or message.file is None or message.media is None:
            return message
        try:
            answer = self._gateways.post(sender.uploader.build(message, account))
        except NoAnswer:
            return Refused(SendFailure.TEMPORARY)
        media_id = sender.uploader.read(answer)
        if isinstance(media_id, Refused):
            return media_id
        return replace(message, media=replace(message.media, provider_media_id=media_id))

    def _message_of(self, row: RowMapping) -> Outgoing:
        return Outgoing(
            message_id=row["message_id"],
            to=ContactIds.parse(row["recipient"]),
            text=row["text"],
            type=row["type"],
            template=row["template"],
            media=Media(**row["media"]) if row["media"] else None,
            file=None if row["upload_id"] is None else self._file_of(row["upload_id"]),
        )

    def _file_of(self, upload_id: UUID) -> UploadedFile:
        if self._files is None:
            raise CannotSend(SendFailure.OTHER, "expected TIMER_MEDIA_DIR, the same as web's")
        path = self._files.path(Shelf.UPLOADS, upload_id)
        try:
            size_bytes = path.stat().st_size
        except OSError:
            raise CannotSend(
                SendFailure.CONTENT, f"upload {upload_id} is not there: is TIMER_MEDIA_DIR web's?"
            ) from None
        return UploadedFile(path, size_bytes, self._links.address(upload_id))

    def _account_of(self, row: RowMapping) -> Account:
        return Account(
            external_id=row["external_id"],
            base_url=row["base_url"],
            secrets=self._secret_box.open(row["business_id"], row["connection_id"], row["secrets"]),
            status_url=f"{self._public_url}/webhooks/{row['provider']}/{row['connection_id']}",
        )

    def _settle(self, row: RowMapping, attempt: int, answer: SendAnswer) -> float | None:
        message_id = row["message_id"]
        wait_s: float | None = None
        if isinstance(answer, Accepted):
            outcome = "accepted"
            self._accept(message_id, attempt, answer.provider_message_id)
        elif isinstance(answer, Unclear):
            outcome = "unknown"
            with self._database.transaction() as db:
                sends.leave_unknown(db, message_id, attempt, answer.code)
        else:
            wait_s = _pause_s(answer, row["refusals"])
            outcome = "refused" if wait_s is None else "tried_again"
            with self._database.transaction() as db:
                if wait_s is None:
                    sends.refuse(
                        db,
                        message_id,
                        attempt,
                        answer.failure,
                        code=answer.code,
                        retryable=answer.is_retryable,
                    )
                else:
                    sends.let_go(db, message_id, attempt, wait=timedelta(seconds=wait_s))
        metrics.SENDS.labels(row["provider"], outcome).inc()
        log.info(
            "message_sent" if outcome == "accepted" else "message_not_sent",
            message_id=str(message_id),
            outcome=outcome,
            failure=answer.failure.value if isinstance(answer, Refused) else None,
            code=None if isinstance(answer, Accepted) else answer.code,
        )
        return wait_s

    def _accept(self, message_id: UUID, attempt: int, provider_message_id: str | None) -> None:
        def note() -> None:
            with self._database.transaction() as db:
                sends.accept(db, message_id, attempt, provider_message_id)

        try:
            note()
        except IntegrityError:
            note()  # it came back between two statements of this: now it is seen


def _pause_s(refused: Refused, refusals: int) -> float | None:
    if not refused.is_retryable or refusals >= len(RETRY_AFTER_S):
        return None
    return min(max(RETRY_AFTER_S[refusals], refused.retry_after_s or 0), LONGEST_RETRY_AFTER_S)
