from itertools import pairwise
from typing import Any

import pytest

from connectors.simulator.settings import SimulatorSettings
from tests.contract.simulator.buyer import Buyer

STONES = 2_500


@pytest.fixture
def buyer() -> Buyer:
    return Buyer(SimulatorSettings(stones=10, demo_stones=STONES, requests_per_s=1_000_000))


async def get(buyer: Buyer, path: str, **params: Any) -> Any:
    reply = await buyer.http.get(f"/demo/v2/{path}", params=params, headers=key(buyer))
    assert reply.status_code == 200, reply.text
    return reply.json()


def key(buyer: Buyer) -> dict[str, str]:
    return {"Authorization": f"Bearer {buyer.vendor.settings.password.get_secret_value()}"}


async def test_pages_of_a_thousand_read_every_stone_once(buyer: Buyer) -> None:
    pages = [await get(buyer, "stones", page=page, size=1_000) for page in (1, 2, 3, 4)]
    assert [len(page["stones"]) for page in pages] == [1_000, 1_000, 500, 0]
    stones = {stone["sku"]: stone for page in pages for stone in page["stones"]}
    told = await buyer.stones(feed="demo")
    assert set(stones) == {stone["id"] for stone in told}
    assert await get(buyer, "stones/count") == {"count": STONES}
    assert (await buyer.door("stats"))["feeds"]["demo"] == STONES
    for truth in told:
        price = stones[truth["id"]]["price_usd"]
        assert (None if price is None else round(price * 100)) == truth["cost_cents"]


async def test_ranges_of_price_per_carat_neither_gap_nor_overlap(buyer: Buyer) -> None:
    edges = [0, 55, 120.5, 400, 2_000, 10**9]
    counts = [
        (await get(buyer, "stones/count", price_per_carat_from=low, price_per_carat_below=high))["count"]
        for low, high in pairwise(edges)
    ]
    assert sum(counts) == STONES
    assert all(counts)


async def test_a_held_or_ordered_stone_is_not_free(buyer: Buyer) -> None:
    first, second = [stone["sku"] for stone in (await get(buyer, "stones", size=2))["stones"]]
    hold = await buyer.http.post("/demo/v2/holds", json={"sku": first}, headers=key(buyer))
    assert hold.status_code == 201
    again = await buyer.http.post("/demo/v2/holds", json={"sku": first}, headers=key(buyer))
    assert again.status_code == 409
    assert (await get(buyer, f"stones/{first}"))["status"] == "reserved"
    assert (await get(buyer, "stones/count")) == {"count": STONES - 1}
    ended = await buyer.http.delete(f"/demo/v2/holds/{hold.json()['id']}", headers=key(buyer))
    assert ended.status_code == 204
    order = await buyer.http.post("/demo/v2/orders", json={"skus": [first, second]}, headers=key(buyer))
    assert order.status_code == 201
    assert (await get(buyer, f"stones/{second}"))["status"] == "sold"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("stones?size=1001", 400),
        ("stones?page=0", 400),
        ("stones?carats_from=x", 400),
        ("stones?changed_since=soon", 400),
        ("stones/unknown", 404),
    ],
)
async def test_bad_questions_are_answered(buyer: Buyer, path: str, status: int) -> None:
    reply = await buyer.http.get(f"/demo/v2/{path}", headers=key(buyer))
    assert (reply.status_code, list(reply.json())) == (status, ["message"])


async def test_without_the_key_nothing_is_told(buyer: Buyer) -> None:
    assert (await buyer.http.get("/demo/v2/stones")).status_code == 401


async def test_faults_and_the_budget_reach_it_too() -> None:
    buyer = Buyer(SimulatorSettings(stones=10, demo_stones=10, requests_per_s=1, violations_allowed=0))
    statuses = [(await buyer.http.get("/demo/v2/stones", headers=key(buyer))).status_code for _ in range(2)]
    assert statuses == [200, 429]
    await buyer.faults(outage={})
    assert (await buyer.http.get("/demo/v2/stones", headers=key(buyer))).status_code == 503
