"""The routes of rule sets: who may, what is refused and with what words, and what a publish answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.app import create_app
from api.plain_index import PlainIndex
from api.service import Service
from tests.integration.shop import STONES, Shop
from tests.unit.api.clients import BUYER, READER, FixedKeys


def client(shop: Shop, key: str = BUYER) -> httpx.AsyncClient:
    service = Service(PlainIndex(), FixedKeys(), database=shop.desk.database, desk=shop.desk)
    transport = httpx.ASGITransport(create_app(service))
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": key})


def publishing(natural_bps: int, **more: Any) -> dict[str, Any]:
    return {"rules": {"base": {"natural_bps": natural_bps}}, "reason": "spring", **more}


async def test_a_publish_with_its_refusals(shop: Shop) -> None:
    async with client(shop, READER) as reader:
        assert (await reader.post("/v1/rules/publish", json=publishing(4_100))).status_code == 403
    async with client(shop) as buyer:
        refused = await buyer.post("/v1/rules/publish", json=publishing(-100))
        assert refused.status_code == 422
        assert refused.json()["breaks"][0]["stones"] == STONES
        made = await buyer.post("/v1/rules/publish", json=publishing(-100, override="clearing", base=1))
        assert made.json() == {"number": 2, "cause": "publish", "share_bps": 10_000, "delivered": True}
        late = await buyer.post("/v1/rules/publish", json=publishing(4_100, base=1))
        assert (late.status_code, late.json()["head"]) == (409, 2)
        kept = (await buyer.get("/v1/rules/2")).json()
        assert (kept["actor"], kept["override_reason"], kept["base"]) == ("buyer", "clearing", 1)
        back = await buyer.post("/v1/rules/1/rollback", json={"reason": "no"})
        assert back.json()["number"] == 3
        assert next(row["cause"] for row in (await buyer.get("/v1/rules")).json()["rules"]) == "rollback"
        assert (await buyer.get("/v1/rules/9")).status_code == 404


async def test_files_are_checked_and_previewed_alike_in_yaml_and_json(shop: Shop) -> None:
    async with client(shop) as buyer:
        bad = await buyer.post(
            "/v1/rules/check", content=b"rules: [{name: a, priority: 1, when: {carat: {min: 2, max: 1}}}]"
        )
        assert bad.status_code == 422
        assert bad.json()["mistakes"][0]["field"] == "row 1.when.carat"
        text = b"{rules: [{name: a, priority: 1, when: {shape: KITE}, margin_bps: 1}], base: {natural_bps: 4100}}"
        report = (await buyer.post("/v1/rules/preview", content=text)).json()
        assert (report["stones"], report["changed"], report["dead"]) == (STONES, STONES, ["a"])
        same = await buyer.post("/v1/rules/preview", json={"base": {"natural_bps": 4100}})
        assert same.json()["changed"] == STONES
        lines = (await buyer.post("/v1/rules/preview/stones", content=text)).text.splitlines()
        assert len(lines) == STONES


async def test_a_draft_from_note_to_number(shop: Shop) -> None:
    async with client(shop) as buyer:
        draft = (
            await buyer.post(
                "/v1/rules/draft", json={"rules": {"base": {"natural_bps": 4_005}}, "note": "try"}
            )
        ).json()
        assert (draft["state"], draft["base"], draft["note"]) == ("draft", 1, "try")
        assert (await buyer.post(f"/v1/rules/drafts/{draft['id']}/preview")).json()["changed"] == STONES
        made = await buyer.post(
            f"/v1/rules/drafts/{draft['id']}/publish", json={"reason": "r", "override": "all of them"}
        )
        assert made.json()["number"] == 2
        assert (await buyer.get(f"/v1/rules/drafts/{draft['id']}")).json()["state"] == "published"
        assert (await buyer.post(f"/v1/rules/drafts/{draft['id']}/discard")).status_code == 409


async def test_rates_are_recorded_and_show_their_age(shop: Shop) -> None:
    async with client(shop) as buyer:
        rate = {"id": "r1", "currency": "EUR", "ppm": 917_431}
        made = (await buyer.post("/v1/rates/record", json=rate)).json()
        again = (await buyer.post("/v1/rates/record", json=rate)).json()
        assert (made["recorded"], again["recorded"]) == (True, False)
        assert (again["ppm"], again["at"]) == (917_431, made["at"])
        for other in ({"ppm": 917_432}, {"currency": "GBP"}):
            refused = await buyer.post("/v1/rates/record", json={**rate, **other})
            assert (refused.status_code, refused.json()["field"]) == (409, "id")
            assert "917431 of EUR" in refused.json()["rule"]
        found = (await buyer.get("/v1/rates")).json()["rates"]
        assert [(one["id"], one["ppm"], one["source"]) for one in found] == [("r1", 917_431, "buyer")]
        assert found[0]["age_s"] < 600
        assert (await buyer.post("/v1/rates/record", json={**rate, "currency": "USD"})).status_code == 422


async def test_a_rate_that_leaps_needs_a_reason_that_is_kept(shop: Shop) -> None:
    async with client(shop) as buyer:
        rate = {"id": "r1", "currency": "EUR", "ppm": 1_000_000}
        assert (await buyer.post("/v1/rates/record", json=rate)).json()["reason"] is None
        # Ten percent and no more goes without.
        assert (await buyer.post("/v1/rates/record", json={**rate, "id": "r2", "ppm": 900_000})).is_success
        leap = {**rate, "id": "r3", "ppm": 1}
        refused = await buyer.post("/v1/rates/record", json=leap)
        assert (refused.status_code, refused.json()["field"]) == (422, "ppm")
        assert "1 is 100.0 % off 900000, the last known rate of EUR (r2)" in refused.json()["rule"]
        blank = await buyer.post("/v1/rates/record", json={**leap, "reason": " "})
        assert (blank.status_code, blank.json()["field"]) == (422, "reason")
        assert (await buyer.post("/v1/rates/record", json={**leap, "reason": "a new euro"})).is_success
        found = (await buyer.get("/v1/rates")).json()["rates"]
    assert [(one["id"], one["actor"], one["reason"]) for one in found] == [("r3", "buyer", "a new euro")]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("publish", b'{"rules": {}, "reason": "a\\u0000b"}', "body"),
        ("draft", b'{"rules": {}, "note": "a\\u0000b"}', "body"),
        ("publish", b'{"rules": {}, "reason": "a", "base": "1"}', "base"),
        ("publish", b'{"rules": {}, "reason": "a", "share_bps": true}', "share_bps"),
        ("publish", b'{"rules": {}, "reason": ', "body"),
        ("../rates/record", b'{"id": "a", "currency": "EUR", "ppm": true}', "ppm"),
        ("../rates/record", b'{"id": "a\\u0000", "currency": "EUR", "ppm": 1}', "body"),
    ],
)
async def test_what_only_looks_right_is_refused_by_its_field(
    shop: Shop, path: str, body: bytes, field: str
) -> None:
    async with client(shop) as buyer:
        refused = await buyer.post(
            f"/v1/rules/{path}", content=body, headers={"content-type": "application/json"}
        )
    assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_a_gradual_publish_is_in_the_way_of_another_one(shop: Shop) -> None:
    async with client(shop) as buyer:
        await buyer.post("/v1/rules/publish", json=publishing(4_100, share_bps=100))
        refused = await buyer.post("/v1/rules/publish", json=publishing(4_200))
    assert (refused.status_code, refused.json()["field"]) == (409, "share")
