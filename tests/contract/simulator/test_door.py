import asyncio

import pytest

from connectors.simulator.clock import Clock
from connectors.simulator.settings import SimulatorSettings
from connectors.simulator.vendor import Vendor
from tests.contract.simulator.buyer import COUNT, Buyer


class Wall:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_stats_count_vendor_requests_and_nothing_of_the_door(buyer: Buyer) -> None:
    token = await buyer.log_in()
    await buyer.ask(COUNT, token)
    await buyer.stones(limit=1)
    stats = await buyer.door("stats")
    assert stats["requests"] == 2
    assert stats["operations"] == {"authenticate": 1, "diamonds_by_query_count": 1}
    assert (stats["violations"], stats["most_in_a_second"]) == (0, 2)
    assert set(stats["feeds"]) == {"nivoda-natural", "nivoda-labgrown"}
    assert sum(stats["feeds"].values()) == 2_000
    await buyer.door("reset_stats", {})
    assert (await buyer.door("stats"))["requests"] == 0


async def test_stones_are_listed_feed_by_feed_from_a_position(buyer: Buyer) -> None:
    natural = await buyer.stones(feed="nivoda-natural")
    assert {stone["feed"] for stone in natural} == {"nivoda-natural"}
    assert await buyer.stones(feed="nivoda-natural", **{"from": 10, "limit": 5}) == natural[10:15]
    everything = await buyer.stones()
    assert len(everything) == 2_000
    assert {"feed", "id", "cost_cents", "available", "fault"} <= set(everything[0])
    for stone in everything:
        assert (stone["cost_cents"] is None) == (stone["fault"] == "null_price")


@pytest.mark.parametrize(
    ("path", "named"),
    [("stones?feed=x", "nivoda-natural"), ("stones?from=-1", "from"), ("stones?limit=a", "limit")],
)
async def test_bad_questions_are_answered_with_a_sentence(buyer: Buyer, path: str, named: str) -> None:
    reply = await buyer.http.get(f"/_sim/{path}")
    assert reply.status_code == 422
    assert named in reply.json()["error"]


@pytest.mark.parametrize(
    ("door", "body", "named"),
    [
        ("life", {"price_moves": -1}, "price_moves"),
        ("life", {"births": 1}, "births"),
        ("clock", {"rate": 0}, "rate"),
        ("sell-off", {"share": 2}, "share"),
        ("scenario", {"name": "none"}, "bad-night"),
        ("scenario", {}, "name"),
        ("faults", [], "object"),
    ],
)
async def test_bad_settings_are_answered_with_a_sentence(
    buyer: Buyer, door: str, body: object, named: str
) -> None:
    reply = await buyer.http.post(f"/_sim/{door}", json=body)
    assert reply.status_code == 422
    assert named in reply.json()["error"]
    assert (await buyer.http.post(f"/_sim/{door}", content=b"{")).status_code == 422


async def test_a_living_inventory_shows_every_change_to_an_incremental_reader() -> None:
    wall = Wall()
    buyer = Buyer(vendor=Vendor(SimulatorSettings(stones=2_000, requests_per_s=10**6), Clock(wall)))
    before = {stone["id"]: stone for stone in await buyer.stones()}
    watermark = buyer.vendor.now_text()
    await buyer.door("life", {"price_moves": 20, "sales": 3, "holds": 2, "new": 4, "media": 1, "seed": 5})
    wall.now_s += 10
    after = {stone["id"]: stone for stone in await buyer.stones()}
    changed = {key for key, stone in after.items() if before.get(key) != stone}
    assert len(after) == 2_040
    seen = set()
    for labgrown in (True, False):
        for offset in range(0, 300, 50):
            page = await buyer.page({"labgrown": labgrown, "updated": {"from": watermark}}, offset=offset)
            seen |= {item["diamond"]["id"] for item in page["items"]}
    assert changed <= seen
    await buyer.door("life", {})
    wall.now_s += 100
    assert {stone["id"]: stone for stone in await buyer.stones()}.keys() == after.keys()
    done = (await buyer.door("life"))["done"]
    assert done == {"price_moves": 200, "sales": 30, "holds": 20, "new": 40, "media": 10}
    sold = sum(stone["availability"] == "SOLD" for stone in after.values())
    assert sold == 30


async def test_a_frozen_clock_stops_life() -> None:
    wall = Wall()
    buyer = Buyer(vendor=Vendor(SimulatorSettings(stones=100), Clock(wall)))
    await buyer.door("life", {"price_moves": 10})
    await buyer.door("clock", {"freeze": True})
    wall.now_s += 100
    assert (await buyer.door("stats"))["life"]["price_moves"] == 0


async def test_a_scenario_is_played_from_the_door(buyer: Buyer) -> None:
    await buyer.door("scenario", {"name": "living"})
    assert (await buyer.door("life"))["rates"]["price_moves"] == 40
    assert (await buyer.door("faults"))["latency"]["active"] is True


async def test_a_scenario_can_be_set_from_the_start() -> None:
    buyer = Buyer(SimulatorSettings(stones=100, scenario="flaky-auth"))
    assert (await buyer.door("faults"))["token_revoked"]["active"] is True


async def test_too_much_traffic_is_logged_and_then_refused() -> None:
    buyer = Buyer(SimulatorSettings(stones=100, requests_per_s=25, violations_allowed=3))
    replies = await asyncio.gather(*(buyer.post(COUNT) for _ in range(30)))
    stats = await buyer.door("stats")
    assert (stats["violations"], stats["most_in_a_second"]) == (5, 30)
    assert len(stats["violation_log"]) == 5
    assert [reply.status_code for reply in replies].count(429) == 2


async def test_too_much_traffic_can_mean_a_ban() -> None:
    settings = SimulatorSettings(
        stones=100, requests_per_s=2, violations_allowed=0, violation_answer="403_html", ban_s=0.2
    )
    buyer = Buyer(settings)
    replies = [await buyer.post(COUNT) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 403, 403]
    assert replies[-1].headers["Content-Type"].startswith("text/html")
    await asyncio.sleep(1.05)
    assert (await buyer.post(COUNT)).status_code == 200


async def test_restarting_brings_the_same_stones_and_keeps_tokens_good() -> None:
    first, second = Buyer(), Buyer()
    assert await first.stones() == await second.stones()
    assert await second.ask(COUNT, await first.log_in())


async def test_other_verbs_and_paths_are_not_served(buyer: Buyer) -> None:
    assert (await buyer.http.get("/api/diamonds")).status_code == 405
    assert (await buyer.http.get("/graphql")).status_code == 404
