"""A business with several connections: which one messages go out by, and that nothing is lost."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.web.shop import Shop, evolution_body, path_of
from timer_service.records import sends
from timer_service.wiring import WebServices

DANA = "972500000001"


def linked(shop: Shop, provider: str, **values: Any) -> dict[str, Any]:
    if provider in {"waha", "baileys"}:
        values.setdefault("base_url", "http://gateway.internal:3000")
    return shop.connect(provider, **values)


def choose(shop: Shop, connection: dict[str, Any] | None) -> Any:
    chosen = None if connection is None else connection["id"]
    return shop.patch(f"/api/businesses/{shop.id}", {"default_connection_id": chosen})


def send(shop: Shop, **values: Any) -> Any:
    return shop.post("/api/messages", {"to": DANA, "text": "Yes.", **values}, role="agent")


def connection_of(services: WebServices, shop: Shop, answer: Any) -> str:
    assert answer.status_code == 202, answer.json
    with services.database.transaction() as db:
        row = sends.get(db, shop.id, answer.json["id"])
    return str(row["connection_id"])


def test_a_business_names_its_default_and_takes_it_back(shop: Shop) -> None:
    connection = linked(shop, "waha")
    path = f"/api/businesses/{shop.id}"
    assert shop.get(path).json["default_connection_id"] is None
    assert choose(shop, connection).json["default_connection_id"] == connection["id"]
    assert shop.patch(path, {"name": "x"}).json["default_connection_id"] == connection["id"]
    assert choose(shop, None).json["default_connection_id"] is None


def test_only_its_own_living_connection_can_be_the_default(shop: Shop, other_shop: Shop) -> None:
    gone = linked(shop, "waha")
    shop.delete(f"/api/connections/{gone['id']}")
    for wrong in (linked(other_shop, "waha"), {"id": str(uuid4())}, gone, {"id": "x"}):
        answer = choose(shop, wrong)
        assert answer.status_code == 422
        assert [one["field"] for one in answer.json["errors"]] == ["default_connection_id"]
    assert shop.get(f"/api/businesses/{shop.id}").json["default_connection_id"] is None


def test_deleting_the_default_clears_it_and_deleting_another_does_not(shop: Shop) -> None:
    first, second = linked(shop, "waha"), linked(shop, "waha")
    choose(shop, first)
    shop.delete(f"/api/connections/{second['id']}")
    assert shop.get(f"/api/businesses/{shop.id}").json["default_connection_id"] == first["id"]
    shop.delete(f"/api/connections/{first['id']}")
    assert shop.get(f"/api/businesses/{shop.id}").json["default_connection_id"] is None


def test_a_message_that_names_none_goes_out_by_the_default_or_the_only_one(
    shop: Shop, services: WebServices
) -> None:
    refused = send(shop)
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "connection_id"
    assert "no connection" in refused.json["errors"][0]["message"]
    only = linked(shop, "waha")
    assert connection_of(services, shop, send(shop)) == only["id"]
    second = linked(shop, "baileys")
    refused = send(shop)
    assert refused.status_code == 422
    assert "default_connection_id" in refused.json["errors"][0]["message"]
    choose(shop, second)
    assert connection_of(services, shop, send(shop)) == second["id"]
    assert connection_of(services, shop, send(shop, connection_id=only["id"])) == only["id"]


def test_a_message_sent_in_again_goes_by_what_it_went_by(shop: Shop, services: WebServices) -> None:
    first, second = linked(shop, "waha"), linked(shop, "baileys")
    choose(shop, first)
    sent = send(shop, client_ref="order-1")
    choose(shop, second)
    again = send(shop, client_ref="order-1")
    assert (again.status_code, again.json["id"]) == (202, sent.json["id"])
    assert connection_of(services, shop, again) == first["id"]


@pytest.mark.parametrize("values", [{"to": None}, {"session_id": str(uuid4())}])
def test_neither_or_both_of_customer_and_session_is_refused(
    shop: Shop, values: dict[str, Any]
) -> None:
    linked(shop, "waha")
    body = {"to": DANA, "text": "Yes.", **values}
    body = {name: value for name, value in body.items() if value is not None}
    assert shop.post("/api/messages", body).status_code == 422


def test_adding_meta_beside_baileys_and_making_it_the_default_leaves_chats_where_they_began(
    shop: Shop, services: WebServices
) -> None:
    baileys = linked(shop, "baileys")

    def hear(message_id: str) -> None:
        body = evolution_body(baileys["external_id"], message_id)
        assert shop.client.post(path_of(baileys["webhook_url"]), json=body).status_code == 200

    hear("3EB01")
    (before,) = shop.sessions
    meta = shop.connect("meta")
    choose(shop, meta)
    (after,) = shop.sessions
    assert after == before
    assert shop.active_count == 1

    hear("3EB02")
    by_session = shop.post("/api/messages", {"session_id": before["id"], "text": "Yes."})
    assert connection_of(services, shop, by_session) == baileys["id"]
    template = {"name": "order_update", "language": "en"}
    by_default = shop.post("/api/messages", {"to": DANA, "template": template})
    assert connection_of(services, shop, by_default) == meta["id"]

    both = {one["connection_id"]: one for one in shop.sessions}
    assert set(both) == {baileys["id"], meta["id"]}
    assert (both[baileys["id"]]["id"], both[baileys["id"]]["message_count"]) == (before["id"], 3)
    assert both[meta["id"]]["message_count"] == 1
    assert all(one["is_open"] for one in both.values())
    assert len(shop.get("/api/contacts").json["items"]) == 1
