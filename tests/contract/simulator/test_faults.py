"""Each fault switch, turned on through the door and seen from outside."""

import time
from typing import Any

import pytest

from tests.contract.simulator.buyer import COUNT, HOLD, LOGIN, SEARCH, Buyer

LABGROWN = {"labgrown": True, "availability": ["AVAILABLE"]}
LOOK = "query G($id: ID!) { get_diamond_by_id(diamond_id: $id) { diamond { HoldId availability } } }"


async def test_short_pages_lack_items_that_a_second_reading_brings(buyer: Buyer) -> None:
    whole = (await buyer.page(LABGROWN))["items"]
    await buyer.faults(short_page={"probability": 1, "seed": 3, "missing": 7})
    short = await buyer.page(LABGROWN)
    assert short["total_count"] == len(short["items"]) == 43
    ids = [item["id"] for item in whole]
    assert [item["id"] for item in short["items"]] == sorted((i["id"] for i in short["items"]), key=ids.index)
    await buyer.faults(short_page=None)
    assert (await buyer.page(LABGROWN))["items"] == whole


async def test_a_page_in_mid_stream_can_be_empty(buyer: Buyer) -> None:
    await buyer.faults(empty_then_more={"probability": 0.5, "seed": 1})
    sizes = [(await buyer.page(LABGROWN, offset=100))["total_count"] for _ in range(20)]
    assert set(sizes) == {0, 50}


async def test_counts_drift_both_ways(buyer: Buyer) -> None:
    true = await buyer.count(LABGROWN)
    await buyer.faults(count_drift={"probability": 1, "seed": 1, "share": 0.1})
    counts = [await buyer.count(LABGROWN) for _ in range(30)]
    assert min(counts) < true < max(counts)
    assert all(abs(count - true) <= 0.1 * true + 1 for count in counts)


@pytest.mark.parametrize(
    ("switch", "field"),
    [
        ("null_certificate", "certificate { id }"),
        ("null_image", "image"),
        ("null_image", "certificate { image }"),
        ("null_video", "video"),
        ("null_video", "supplier_video_link"),
        ("null_video", "v360 { url }"),
    ],
)
async def test_what_is_switched_to_null_is_null(buyer: Buyer, switch: str, field: str) -> None:
    await buyer.faults(**{switch: {"probability": 1}})
    text = f"{{ diamonds_by_query {{ items {{ diamond {{ {field} }} }} }} }}"
    data = await buyer.ask(text, await buyer.log_in())
    name, _, inner = field.partition(" { ")
    for item in data["diamonds_by_query"]["items"]:
        value = item["diamond"][name]
        assert value is None or (switch != "null_certificate" and value.get(inner.rstrip(" }")) is None)


async def test_claims_of_being_labgrown_can_be_wrong(buyer: Buyer) -> None:
    await buyer.faults(labgrown_wrong={})
    text = "query S($q: DiamondQuery) { diamonds_by_query(query: $q) { items { diamond { certificate { labgrown } } } } }"
    items = (await buyer.ask(text, await buyer.log_in(), q=LABGROWN))["diamonds_by_query"]["items"]
    assert {
        item["diamond"]["certificate"]["labgrown"] for item in items if item["diamond"]["certificate"]
    } == {False}


async def test_dirty_enums_are_null_with_an_error_each(buyer: Buyer) -> None:
    await buyer.faults(dirty_enums={"probability": 0.3, "seed": 2})
    text = "{ diamonds_by_query { items { id diamond { certificate { clarity color } } } } }"
    reply = (await buyer.post(text, await buyer.log_in())).json()
    assert all("DiamondClarity" in error["message"] for error in reply["errors"])
    for error in reply["errors"]:
        item = reply["data"]["diamonds_by_query"]["items"][error["path"][2]]
        assert item["diamond"]["certificate"]["clarity"] is None
        assert item["diamond"]["certificate"]["color"]
    assert 5 < len(reply["errors"]) < 30
    without = "{ diamonds_by_query { items { id diamond { certificate { color } } } } }"
    assert "errors" not in (await buyer.post(without, await buyer.log_in())).json()


async def test_members_of_a_page_can_be_null(buyer: Buyer) -> None:
    await buyer.faults(null_items={})
    items = (await buyer.page(LABGROWN))["items"]
    assert (len(items), items.count(None)) == (50, 5)


async def test_partial_data_comes_with_errors_that_name_the_members(buyer: Buyer) -> None:
    await buyer.faults(partial_data_with_errors={})
    reply = (await buyer.post(SEARCH, await buyer.log_in(), query=LABGROWN)).json()
    items = reply["data"]["diamonds_by_query"]["items"]
    assert sorted(error["path"][-1] for error in reply["errors"]) == [
        i for i, item in enumerate(items) if item is None
    ]
    assert len(reply["errors"]) == 5


async def test_answers_take_their_time(buyer: Buyer) -> None:
    await buyer.faults(latency={"median_ms": 60, "sigma": 0, "tail_probability": 0})
    started_s = time.monotonic()
    await buyer.post(COUNT)
    assert time.monotonic() - started_s >= 0.06
    await buyer.faults(latency={"median_ms": 0, "tail_probability": 1, "tail_ms": 80})
    started_s = time.monotonic()
    await buyer.post(COUNT)
    assert time.monotonic() - started_s >= 0.08


@pytest.mark.parametrize(
    ("switch", "setting", "status", "content_type"),
    [
        ("http_5xx", {"status": 502}, 502, "text/html"),
        ("html_body", {}, 200, "text/html"),
        ("http_429", {"retry_after_s": 3}, 429, "application/json"),
        ("http_403_html", {}, 403, "text/html"),
        ("outage", {"duration_s": 60}, 503, "text/html"),
        ("hang", {"hang_s": 0.01}, 504, "text/html"),
    ],
)
async def test_answers_that_are_no_answers(
    buyer: Buyer, switch: str, setting: dict[str, Any], status: int, content_type: str
) -> None:
    await buyer.faults(**{switch: setting})
    reply = await buyer.post(COUNT)
    assert (reply.status_code, reply.headers["Content-Type"].split(";")[0]) == (status, content_type)
    assert reply.headers.get("Retry-After") == ("3" if switch == "http_429" else None)
    assert "Date" in reply.headers
    await buyer.faults(**{switch: None})
    assert (await buyer.post(COUNT)).status_code == 200


async def test_a_switch_can_be_bound_to_logins(buyer: Buyer) -> None:
    token = await buyer.log_in()
    await buyer.faults(http_5xx={"operations": ["authenticate"]})
    assert (await buyer.post(LOGIN, u="a", p="b")).status_code == 503
    assert await buyer.ask(COUNT, token)


async def test_a_hold_that_was_never_answered_is_there(buyer: Buyer) -> None:
    token, stone = await buyer.log_in(), (await buyer.stones(limit=1))[0]["id"]
    await buyer.faults(timeout_after_mutation={"hang_s": 0.01})
    assert (await buyer.post(HOLD, token, id=stone)).status_code == 504
    seen = (await buyer.ask(LOOK, token, id=stone))["get_diamond_by_id"]["diamond"]
    assert seen["availability"] == "HOLD"
    assert seen["HoldId"]


async def test_a_revoked_token_stays_revoked_and_a_new_one_works(buyer: Buyer) -> None:
    token = await buyer.log_in()
    await buyer.faults(token_revoked={"operations": ["diamonds_by_query_count"]})
    assert (await buyer.post(COUNT, token)).json()["errors"][0]["message"] == "invalid token"
    await buyer.faults(token_revoked=None)
    assert (await buyer.post(COUNT, token)).json()["errors"][0]["message"] == "invalid token"
    assert await buyer.ask(COUNT, await buyer.log_in())


async def test_failures_of_authentication_can_be_401(buyer: Buyer) -> None:
    await buyer.faults(auth_401={})
    assert (await buyer.post(COUNT, "nonsense")).status_code == 401
    assert (await buyer.post(COUNT, await buyer.log_in())).status_code == 200


async def test_a_hold_can_be_denied(buyer: Buyer) -> None:
    token, stone = await buyer.log_in(), (await buyer.stones(limit=1))[0]["id"]
    await buyer.faults(hold_denied={})
    assert (await buyer.ask(HOLD, token, id=stone))["create_hold"]["denied"] is True
    assert (await buyer.stones(limit=1))[0]["available"] is True


async def test_another_buyer_can_be_quicker(buyer: Buyer) -> None:
    token, stone = await buyer.log_in(), (await buyer.stones(limit=1))[0]["id"]
    await buyer.faults(hold_taken={})
    assert (await buyer.ask(HOLD, token, id=stone))["create_hold"]["denied"] is True
    seen = (await buyer.ask(LOOK, token, id=stone))["get_diamond_by_id"]["diamond"]
    assert seen == {"HoldId": None, "availability": "HOLD"}


async def test_what_is_not_available_can_be_hidden(buyer: Buyer) -> None:
    token, stone = await buyer.log_in(), (await buyer.stones(limit=1))[0]["id"]
    await buyer.ask(HOLD, token, id=stone)
    held = {"labgrown": (await buyer.stones(limit=1))[0]["lab_grown"], "availability": ["HOLD"]}
    assert await buyer.count(held) == 1
    await buyer.faults(gone_hidden={})
    assert await buyer.count(held) == 0


async def test_left_out_labgrown_can_mean_both(buyer: Buyer) -> None:
    natural = await buyer.count({})
    await buyer.faults(labgrown_omitted_both={})
    assert (natural, await buyer.count({})) == (await buyer.count({"labgrown": False}), 2_000)


async def test_money_ranges_can_be_in_cents_or_exact(buyer: Buyer) -> None:
    dollars = {**LABGROWN, "dollar_per_carat": {"from": 0, "to": 120}}
    below = await buyer.count(dollars)
    await buyer.faults(money_ranges_exact={})
    assert 0 < await buyer.count(dollars) < below
    await buyer.faults(money_in_cents={}, money_ranges_exact=None)
    assert await buyer.count(dollars) == 0
    assert await buyer.count({**LABGROWN, "dollar_per_carat": {"from": 0, "to": 12_099}}) == below


async def test_faults_are_the_same_for_the_same_seed() -> None:
    sizes = []
    for _ in range(2):
        buyer = Buyer()
        await buyer.faults(short_page={"probability": 0.4, "seed": 9})
        sizes.append([(await buyer.page(LABGROWN, offset=50 * page))["total_count"] for page in range(12)])
    assert sizes[0] == sizes[1]
    assert set(sizes[0]) == {45, 50}


async def test_an_unknown_fault_is_named_with_those_that_are_known(buyer: Buyer) -> None:
    reply = await buyer.http.post("/_sim/faults", json={"http_6xx": {}})
    assert reply.status_code == 422
    assert all(name in reply.json()["error"] for name in ("http_6xx", "short_page", "outage"))
