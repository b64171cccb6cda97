"""The four gateways as the suites over all of them see them: samples, and a crowd to break."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.contract import baileys_payloads, waha_payloads
from tests.contract.mutations import broken
from tests.contract.sample_files import Sample, body_of, form_of, samples_of
from timer_service.messages import ParsedItem
from timer_service.providers import baileys, meta, twilio, waha
from timer_service.providers.base import ParseContext, Provider, WebhookRequest

OWN_NUMBER = baileys_payloads.OWN_NUMBER
_TWILIO_ESSENTIALS = {"AccountSid", "From", "To", "MessageSid"}

Crowd = tuple[bytes, bytes]
"""A body as it should be, and the same with one element more or less, broken or repeated."""


@dataclass(frozen=True)
class Gateway:
    """A provider, what it is known to send, and how its requests carry good and bad together."""

    provider: Provider
    samples: list[Sample]
    draw_crowd: Callable[[st.DataObject], Crowd]

    def parse(self, body: bytes, own_number: str | None = None) -> list[ParsedItem]:
        context = ParseContext(own_number=own_number)
        return self.provider.parse(WebhookRequest(body=body), context)

    def encoded(self, document: Any) -> bytes:
        return self.samples[0].encoded(document)


def _among(data: st.DataObject, neighbours: list[Any], victim: Any) -> list[Any]:
    crowd = [*neighbours]
    crowd.insert(data.draw(st.integers(0, len(neighbours))), victim)
    return crowd


def _broken_one(data: st.DataObject, element: Any) -> Any:
    """Break an element, or take it away: None in its place."""
    return data.draw(broken({"message": copy.deepcopy(element)})).get("message")


def _meta_crowd(data: st.DataObject) -> Crowd:
    document = body_of("meta/batch_two_entries_two_tenants.json")
    whole = META.encoded(document)
    value = document["entry"][0]["changes"][0]["value"]
    victim = _broken_one(data, value["messages"][0])
    value["messages"] = _among(data, value["messages"], victim)
    document["entry"] = _among(data, document["entry"], victim)
    return whole, META.encoded(document)


def _baileys_crowd(data: st.DataObject) -> Crowd:
    message = baileys_payloads.message
    neighbours = [message(key={"id": "A"}), message(key={"id": "B", "fromMe": True})]
    upserts = [one for one in BAILEYS.samples if "upsert" in one.name]
    victim = _broken_one(data, data.draw(st.sampled_from(upserts)).document["messages"][0])
    shape = data.draw(st.sampled_from(["plain", "evolution", "bare"]))

    def shaped(messages: list[Any]) -> bytes:
        document: Any = {
            "plain": {"messages": messages, "type": "notify"},
            "evolution": baileys_payloads.evolution("messages.upsert", messages),
            "bare": messages,
        }[shape]
        return BAILEYS.encoded(document)

    return shaped(neighbours), shaped(_among(data, neighbours, victim))


def _waha_crowd(data: st.DataObject) -> Crowd:
    told = waha_payloads.told
    neighbours = [
        told("message", waha_payloads.message(id="A")),
        told("message.any", waha_payloads.noweb({"conversation": "b"}, id="B", fromMe=True)),
    ]
    victim = _broken_one(data, data.draw(st.sampled_from(WAHA.samples)).document)
    return WAHA.encoded(neighbours), WAHA.encoded(_among(data, neighbours, victim))


def _twilio_crowd(data: st.DataObject) -> Crowd:
    """Break any fields beside those that say whose message it is: a request holds one message."""
    messages = [one for one in TWILIO.samples if one.expect[0]["action"] == "ingest"]
    sample = data.draw(st.sampled_from(messages))
    fields = sample.document
    others = sorted(fields.keys() - _TWILIO_ESSENTIALS - {"SmsStatus"})
    for name in data.draw(st.sets(st.sampled_from(others), min_size=1)):
        fields[name] = data.draw(st.none() | st.text(st.characters(codec=None), max_size=20))
    return sample.body, form_of(fields)


META = Gateway(meta.PROVIDER, samples_of("meta"), _meta_crowd)
BAILEYS = Gateway(baileys.PROVIDER, samples_of("evolution", "baileys"), _baileys_crowd)
WAHA = Gateway(waha.PROVIDER, samples_of("waha"), _waha_crowd)
TWILIO = Gateway(twilio.PROVIDER, samples_of("twilio"), _twilio_crowd)
GATEWAYS = {one.provider.name.value: one for one in (META, BAILEYS, TWILIO, WAHA)}
