"""A session's messages as a chat shows them: days, runs of one author, quotes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from timer_service.file_types import shown_as
from timer_service.resources import Message


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message and what its neighbours make of it.

    ``opens_day`` is set where a new day begins, ``opens_run`` where another author does.
    ``quoted`` is the message it replies to, if that is on the page. ``file`` says how its file is
    shown: as an ``image``, ``audio`` or ``video`` in the page, or by a ``link``; None: it has none.
    """

    message: Message
    at: datetime
    opens_day: bool
    opens_run: bool
    quoted: Message | None
    file: str | None


def lay_out(messages: Sequence[Message], zone: tzinfo) -> list[Bubble]:
    """Lay messages out in the order given; days are those of ``zone``."""
    by_provider_id = {one.provider_message_id: one for one in messages}
    bubbles: list[Bubble] = []
    for message in messages:
        at = message.sent_at or message.received_at
        last = bubbles[-1] if bubbles else None
        opens_day = last is None or at.astimezone(zone).date() != last.at.astimezone(zone).date()
        bubbles.append(
            Bubble(
                message=message,
                at=at,
                opens_day=opens_day,
                opens_run=opens_day or last is None or last.message.author != message.author,
                quoted=by_provider_id.get(message.reply_to) if message.reply_to else None,
                file=_shown(message),
            )
        )
    return bubbles


def _shown(message: Message) -> str | None:
    if message.media is None:
        return None
    # What somebody sent from an address of theirs is there, or nowhere: it is fetched by nobody.
    may_be_elsewhere = message.direction == "out" and "url" in message.media
    shown = shown_as(message.media.get("mime_type"))
    if may_be_elsewhere or not shown.is_inline:
        return "link"
    return shown.mime_type.partition("/")[0]
