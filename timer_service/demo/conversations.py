"""The conversations the demo plays: the packaged ones, a file of the same format, or an export.

`story` and `traffic` call this. A file is JSON:

    {"conversations": [
      {"provider": "meta", "starts_after_s": 30,
       "cast": [{"name": "Noa Barak", "phone": "972500001001"}],
       "turns": [
         {"by": "customer", "after_s": 0, "text": "Hi, are you open on Friday?"},
         {"by": "agent", "after_s": 45, "text": "Hi {first}, from 8 to 15"},
         {"by": "customer", "after_s": 20, "type": "image", "text": "this one?"}]}]}

``after_s`` is the pause before a turn as it was in life, ``provider`` is ``meta``,
``baileys`` or ``waha``, ``type`` is ``text``, ``image``, ``video``, ``voice``, ``document`` or
``sticker``. Any of the cast may play the customer; ``{first}`` becomes their first name. A
WhatsApp export (``.txt``) is one conversation: whoever wrote first is the customer, everybody else
the business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from timer_service.errors import InvalidInput
from timer_service.messages import ProviderName
from timer_service.whatsapp_export import ExportedMessage, read_export

_STRICT = ConfigDict(extra="forbid")
_MOST_CONVERSATIONS = 20
_EXPORT_PHONE = "972500001999"
_LONGEST_TEXT = 4096  # WhatsApp's own limit

TurnType = Literal["text", "image", "video", "voice", "document", "sticker"]


@dataclass(frozen=True, slots=True)
class Person:
    """A customer; ``phone`` is digits with the country, of ranges that belong to nobody."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=80)]
    phone: Annotated[str, Field(pattern=r"^[1-9][0-9]{7,14}$")]

    @property
    def first_name(self) -> str:
        """What an agent would call them."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, ``after_s`` seconds after the one before it."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    by: Literal["customer", "agent"]
    after_s: Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
    text: Annotated[str, Field(max_length=_LONGEST_TEXT)] = ""
    type: TurnType = "text"

    @property
    def is_customers(self) -> bool:
        """Whether the customer wrote it."""
        return self.by == "customer"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation any of ``cast`` may have; ``starts_after_s`` delays its first turn."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    provider: Literal[ProviderName.META, ProviderName.BAILEYS, ProviderName.WAHA]
    cast: Annotated[tuple[Person, ...], Field(min_length=1)]
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]
    starts_after_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0

    def turns_with(self, person: Person) -> tuple[Turn, ...]:
        """Return the turns as they go with this customer."""
        return tuple(
            replace(turn, text=turn.text.replace("{first}", person.first_name))
            for turn in self.turns
        )


@dataclass(frozen=True, slots=True)
class _File:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    conversations: Annotated[
        tuple[Conversation, ...], Field(min_length=1, max_length=_MOST_CONVERSATIONS)
    ]


_ADAPTER = TypeAdapter(_File)


def packaged_conversations() -> tuple[Conversation, ...]:
    """Return the demo's own conversations, in the order they begin."""
    content = files(__package__).joinpath("conversations.json").read_bytes()
    return _ADAPTER.validate_json(content).conversations


def read_conversations(path: Path) -> tuple[Conversation, ...]:
    """Read a file of conversations, or an export where its name ends in ``.txt``.

    Raises:
        InvalidInput: it cannot be read; the message says where it is wrong, never what it says.
    """
    if path.suffix.lower() == ".txt":
        return (_from_export(read_export(path).said, path),)
    try:
        conversations = _ADAPTER.validate_json(path.read_bytes()).conversations
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidInput(f"{path}: {where}: {first['msg']}") from None
    if len({one.cast[0].phone for one in conversations}) < len(conversations):
        raise InvalidInput(f"{path}: the first of each cast needs a phone number of their own")
    return conversations


def _from_export(said: Sequence[ExportedMessage], path: Path) -> Conversation:
    if not said:
        raise InvalidInput(f"{path} holds no messages of people, only WhatsApp's own notices")
    customer = said[0].author
    pauses_s = [
        (after.sent_at - before.sent_at).total_seconds() for before, after in pairwise(said)
    ]
    return Conversation(
        provider=ProviderName.META,
        cast=(Person(name=customer or "Customer", phone=_EXPORT_PHONE),),
        turns=tuple(
            Turn(
                by="customer" if message.author == customer else "agent",
                after_s=max(0.0, pause_s),
                text=message.text[:_LONGEST_TEXT],
                type=_turn_type(message),
            )
            for message, pause_s in zip(said, [0.0, *pauses_s], strict=True)
        ),
    )


def _turn_type(message: ExportedMessage) -> TurnType:
    match message.type:
        case "text" | "image" | "video" | "voice" | "document" | "sticker":
            return message.type
        case "contacts":
            return "document"
        case _:
            return "image"  # left out, and the export does not say what it was
