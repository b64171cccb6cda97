"""However a gateway's payloads are broken, valid events come out and no neighbour is lost.

Of every provider, by one suite: 2,000 broken payloads each in `./run test`, 100,000 each with
`--slow`, in rounds, so that one that fails is soon tried again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.gateways import GATEWAYS, OWN_NUMBER, Gateway
from tests.contract.mutations import GONE, broken_bytes, broken_samples, examples, one_changed
from tests.contract.sample_files import Sample, assert_as_expected
from tests.contract.valid_events import assert_valid
from timer_service.errors import MalformedPayload
from timer_service.messages import ParsedItem
from timer_service.providers.base import WebhookRequest

ROUNDS = 20
EXAMPLES = 2_000
EXAMPLES_IN_ROUND = 100_000 // ROUNDS


def try_broken_nodes(gateway: Gateway, number: int) -> None:
    """Break nodes of a sample: fields dropped, renamed, of another type, absurd."""

    @examples(number)
    @given(broken_samples(gateway.samples), st.sampled_from([None, OWN_NUMBER, "972500000001"]))
    def run(body: bytes, own_number: str | None) -> None:
        assert_valid(gateway.parse(body, own_number))

    run()


def try_broken_bytes(gateway: Gateway, number: int) -> None:
    """Break a sample's bytes; what can no longer be read is malformed, and nothing else."""

    @examples(number)
    @given(broken_bytes(gateway.samples))
    def run(body: bytes) -> None:
        assert gateway.provider.is_authentic(WebhookRequest(body=body), {}) is False
        try:
            items = gateway.parse(body)
        except MalformedPayload:
            assert body_is_json(gateway), "a form can always be read"
            return
        assert_valid(items)

    run()


def try_broken_neighbours(gateway: Gateway, number: int) -> None:
    """Put something broken among what is right, which must come out as if it were alone."""

    @examples(number)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        whole, crowded = gateway.draw_crowd(data)
        found = gateway.parse(crowded)
        assert_valid(found)
        kept = [names for names in names_of(found) if names in names_of(gateway.parse(whole))]
        assert list(dict.fromkeys(kept)) == names_of(gateway.parse(whole))

    run()


def body_is_json(gateway: Gateway) -> bool:
    return gateway.samples[0].name.endswith(".json")


def names_of(items: list[ParsedItem]) -> list[tuple[str | None, str | None]]:
    return [(one.account, getattr(one.event, "provider_message_id", None)) for one in items]


@pytest.mark.parametrize(
    "value", [None, GONE, "brand_new_value", 7, [], {}], ids=lambda one: str(one)[:9]
)
@pytest.mark.parametrize("name", GATEWAYS)
def test_any_one_thing_may_be_null_missing_or_new(name: str, value: object) -> None:
    gateway, tried = GATEWAYS[name], 0
    for sample in gateway.samples:
        for document in one_changed(sample.document, value):
            assert_valid(gateway.parse(sample.encoded(document), OWN_NUMBER))
            tried += 1
    assert tried > 5 * len(gateway.samples)


# Of ten broken payloads so many each way.
WAYS: dict[str, tuple[Callable[[Gateway, int], None], int]] = {
    "nodes": (try_broken_nodes, 6),
    "bytes": (try_broken_bytes, 2),
    "neighbours": (try_broken_neighbours, 2),
}


@pytest.mark.parametrize(
    ("gateway", "sample"),
    [(gateway, sample) for gateway in GATEWAYS.values() for sample in gateway.samples],
    ids=lambda one: one.name if isinstance(one, Sample) else one.provider.name.value,
)
def test_a_sample_becomes_what_is_expected(gateway: Gateway, sample: Sample) -> None:
    items = gateway.parse(sample.body, OWN_NUMBER)
    assert_valid(items)
    assert_as_expected(items, sample.expect)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GATEWAYS)
def test_however_a_payload_is_broken_nothing_else_breaks(name: str, way: str) -> None:
    attempt, share = WAYS[way]
    attempt(GATEWAYS[name], EXAMPLES * share // 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GATEWAYS)
def test_a_hundred_thousand_times(name: str, way: str, round_number: int) -> None:
    del round_number  # each round draws anew
    attempt, share = WAYS[way]
    attempt(GATEWAYS[name], EXAMPLES_IN_ROUND * share // 10)
