import base64
import gzip
import json
from typing import Any
from uuid import UUID

import pytest

from connectors.simulator import vocabulary as words
from connectors.simulator.execute import Executor
from connectors.simulator.resolve import Asking
from tests.contract.simulator.buyer import COUNT, HOLD, LOGIN, SEARCH, Buyer, whole_selection

LABGROWN = {"labgrown": True, "availability": ["AVAILABLE"]}


async def test_a_token_looks_like_a_jwt_that_expires(buyer: Buyer) -> None:
    settings = buyer.vendor.settings
    data = await buyer.ask(LOGIN, u=settings.username, p=settings.password.get_secret_value())
    session = data["authenticate"]["username_and_password"]
    payload = session["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["exp"] - claims["iat"] == pytest.approx(6 * 3600, abs=1.1)
    assert session["expires"] == pytest.approx(claims["exp"] * 1000, abs=1)
    assert claims["role"] == "CUSTOMER"


async def test_both_ways_of_presenting_a_token_work(buyer: Buyer) -> None:
    token = await buyer.log_in()
    by_header = await buyer.ask(COUNT, token, query=LABGROWN)
    wrapped = (
        "query C($t: String, $q: DiamondQuery) { as(token: $t) { n: diamonds_by_query_count(query: $q) } }"
    )
    by_wrapper = await buyer.ask(wrapped, None, t=token, q=LABGROWN)
    assert by_wrapper["as"]["n"] == by_header["diamonds_by_query_count"] > 0


@pytest.mark.parametrize(
    ("token", "words_of_the_vendor"),
    [(None, "unauthenticated"), ("nonsense", "jwt malformed"), ("a.b.c", "invalid token")],
)
async def test_without_a_good_token_errors_come_with_status_200(
    buyer: Buyer, token: str | None, words_of_the_vendor: str
) -> None:
    reply = await buyer.post(COUNT, token)
    assert reply.status_code == 200
    (error,) = reply.json()["errors"]
    assert words_of_the_vendor in error["message"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_wrong_password_is_refused(buyer: Buyer) -> None:
    reply = (await buyer.post(LOGIN, u=buyer.vendor.settings.username, p="wrong")).json()
    assert "Unauthorized" in reply["errors"][0]["message"]
    assert reply["data"]["authenticate"]["username_and_password"] is None


async def test_an_expired_token_is_refused_by_the_vendors_clock(buyer: Buyer) -> None:
    token = await buyer.log_in()
    await buyer.door("clock", {"offset_s": 6 * 3600 + 1})
    assert (await buyer.post(COUNT, token)).json()["errors"][0]["message"] == "jwt expired"


async def test_a_page_carries_its_own_size_as_total_count(buyer: Buyer) -> None:
    page = await buyer.page(LABGROWN, limit=40)
    assert page["total_count"] == len(page["items"]) == 40
    everything = await buyer.count(LABGROWN)
    last = await buyer.page(LABGROWN, offset=everything - 13, limit=40)
    assert last["total_count"] == 13
    assert (await buyer.page(LABGROWN, offset=everything))["items"] == []


async def test_paging_by_creation_reads_every_stone_once(buyer: Buyer) -> None:
    token, seen = await buyer.log_in(), []
    for offset in range(0, 2_000, 50):
        data = await buyer.ask(SEARCH, token, query=LABGROWN, offset=offset, limit=50)
        seen += [item["diamond"]["id"] for item in data["diamonds_by_query"]["items"]]
    assert seen == [stone["id"] for stone in await buyer.stones(feed="nivoda-labgrown")]
    assert len(set(seen)) == await buyer.count(LABGROWN)


async def test_a_limit_above_50_is_cut_or_refused(buyer: Buyer) -> None:
    assert (await buyer.page(LABGROWN, limit=200))["total_count"] == 50
    await buyer.faults(limit_error={})
    reply = (await buyer.post(SEARCH, await buyer.log_in(), query=LABGROWN, limit=51)).json()
    assert "limit" in reply["errors"][0]["message"]
    assert reply["data"]["diamonds_by_query"] is None


async def test_offsets_end_at_50_000_unless_switched(buyer: Buyer) -> None:
    assert (await buyer.page(LABGROWN, offset=50_000))["items"] == []
    reply = (await buyer.post(SEARCH, await buyer.log_in(), query=LABGROWN, offset=50_001)).json()
    assert "offset" in reply["errors"][0]["message"]
    await buyer.faults(offset_uncapped={})
    assert (await buyer.page(LABGROWN, offset=50_001))["items"] == []


async def test_an_unknown_filter_is_named_in_the_vendors_words(buyer: Buyer) -> None:
    expected = 'Field "updatedAt" is not defined by type DiamondQuery'
    token = await buyer.log_in()
    by_variable = await buyer.post(COUNT, token, query={"updatedAt": {"from": "2026-01-01"}})
    in_text = await buyer.post('{ diamonds_by_query_count(query: {updatedAt: {from: "2026-01-01"}}) }', token)
    for reply in (by_variable, in_text):
        assert reply.status_code == 200
        assert expected in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ diamonds_by_query(", {}),
        (COUNT, {"query": {"dollar_value": {"from": 1.5, "to": 2}}}),
        (COUNT, {"query": {"sizes": [{"from": 1}]}}),
    ],
)
async def test_what_cannot_be_read_has_status_400(
    buyer: Buyer, query: str, variables: dict[str, Any]
) -> None:
    reply = await buyer.post(query, await buyer.log_in(), **variables)
    assert reply.status_code == 400
    assert reply.json()["errors"]
    assert (await buyer.http.post("/api/diamonds", content=b"<xml>")).status_code == 400


async def test_fields_that_have_no_effect_are_accepted(buyer: Buyer) -> None:
    query = {
        **LABGROWN,
        **{"hide_memo": True, "custom_query": True, "brown": [0], "sub": True, "treated": False, "rjc": None},
        **{
            "sizes": {"from": 0.4, "to": 15.01},
            "shapes": "ROUND",
            "preferred_currency": "USD",
            "eyeClean": ["Yes"],
        },
    }
    assert 0 < await buyer.count(query) < await buyer.count(LABGROWN)


async def test_an_inverted_range_gives_thirty_arbitrary_stones(buyer: Buyer) -> None:
    query = {**LABGROWN, "dollar_per_carat": {"from": 200, "to": 100}}
    assert await buyer.count(query) == 30
    assert (await buyer.page(query))["total_count"] == 30
    await buyer.faults(inverted_range=None)
    assert await buyer.count(query) == 0


async def test_a_stone_is_read_by_its_bare_uuid(buyer: Buyer) -> None:
    token = await buyer.log_in()
    stone = (await buyer.stones(limit=1))[0]
    text = "query G($id: ID!) { get_diamond_by_id(diamond_id: $id) { id price diamond { id } } }"
    item = (await buyer.ask(text, token, id=stone["id"]))["get_diamond_by_id"]
    assert item == {
        "id": f"DIAMOND/{stone['id']}",
        "price": stone["cost_cents"],
        "diamond": {"id": stone["id"]},
    }
    unknown = "00000000-0000-4000-8000-000000000000"
    assert (await buyer.ask(text, token, id=unknown))["get_diamond_by_id"] is None


async def test_whole_columns_and_plain_execution_answer_alike(buyer: Buyer) -> None:
    await buyer.faults(
        null_image={"probability": 0.2},
        null_certificate={"probability": 0.1},
        null_video={"probability": 0.1},
    )
    selection = whole_selection()
    text = (
        "query S($t: String, $q: DiamondQuery, $o: Int) { as(token: $t) {"
        f" first: diamonds_by_query(query: $q, offset: $o, limit: 50) {{ items {selection} total_count result_count }}"
        " n: diamonds_by_query_count(query: $q)"
        " wrong: diamonds_by_query(query: $q, offset: 60000) { total_count } } }"
    )
    token = await buyer.log_in()
    executor = Executor()
    for labgrown in (True, False):
        for offset in range(0, 400, 50):
            variables = {"t": token, "q": {"labgrown": labgrown}, "o": offset}
            replies = [
                executor.answer(Asking(buyer.vendor, None), text, variables, None, by_columns=by_columns)
                for by_columns in (True, False)
            ]
            assert json.dumps(replies[0].body) == json.dumps(replies[1].body)
            assert len(replies[0].body["data"]["as"]["first"]["items"]) == 50
            assert replies[0].body["errors"][0]["path"] == ["as", "wrong"]


async def test_refused_tokens_answer_alike_too(buyer: Buyer) -> None:
    for text in (
        "{ diamonds_by_query_count diamonds_by_query { total_count } }",
        '{ as(token: "x") { diamonds_by_query_count } }',
    ):
        replies = [
            Executor().answer(Asking(buyer.vendor, None), text, {}, None, by_columns=by_columns)
            for by_columns in (True, False)
        ]
        assert replies[0] == replies[1]


async def test_fragments_and_typenames_work(buyer: Buyer) -> None:
    text = (
        "query { diamonds_by_query(limit: 2) { items { ...Item __typename } } } "
        "fragment Item on DiamondItem { diamond { id } }"
    )
    items = (await buyer.ask(text, await buyer.log_in()))["diamonds_by_query"]["items"]
    assert [item["__typename"] for item in items] == ["DiamondItem"] * 2


async def test_ids_have_the_vendors_forms(buyer: Buyer) -> None:
    text = "{ diamonds_by_query { items { id diamond { id certificate { id } } } } }"
    for item in (await buyer.ask(text, await buyer.log_in()))["diamonds_by_query"]["items"]:
        assert item["id"] == f"DIAMOND/{item['diamond']['id']}"
        assert UUID(item["diamond"]["id"]).version == 4
        if item["diamond"]["certificate"]:
            assert UUID(item["diamond"]["certificate"]["id"]).version == 5


async def test_the_date_header_is_the_vendors_clock(buyer: Buyer) -> None:
    await buyer.door("clock", {"offset_s": 86_400 * 400})
    clock = await buyer.door("clock")
    assert (await buyer.post(COUNT)).headers["Date"][12:16] == clock["now"][:4]


async def test_gzip_is_used_when_asked_for(buyer: Buyer) -> None:
    token = await buyer.log_in()
    body = {"query": SEARCH, "variables": {"query": LABGROWN}}
    headers = {"Authorization": f"Bearer {token}"}
    plain = await buyer.http.post("/api/diamonds", json=body, headers=headers)
    async with buyer.http.stream(
        "POST", "/api/diamonds", json=body, headers={**headers, "Accept-Encoding": "gzip"}
    ) as packed:
        raw = b"".join([chunk async for chunk in packed.aiter_raw()])
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content


async def test_a_hold_keeps_the_stone_for_its_holder(buyer: Buyer) -> None:
    token = await buyer.log_in()
    stone = (await buyer.stones(limit=1))[0]["id"]
    hold = (await buyer.ask(HOLD, token, id=stone))["create_hold"]
    assert hold["denied"] is False
    assert hold["until"] > buyer.vendor.clock.now_ms()
    look = "query G($id: ID!) { get_diamond_by_id(diamond_id: $id) { diamond { HoldId availability } } }"
    seen = (await buyer.ask(look, token, id=stone))["get_diamond_by_id"]["diamond"]
    assert seen == {"HoldId": hold["id"], "availability": "HOLD"}
    again = (await buyer.ask(HOLD, token, id=stone))["create_hold"]
    assert (again["denied"], again["until"]) == (True, None)
    release = "mutation R($h: ID!) { cancel_hold(hold_id: $h) { id denied } }"
    assert (await buyer.ask(release, token, h=hold["id"]))["cancel_hold"]["id"] == hold["id"]
    assert "Hold not found" in (await buyer.post(release, token, h=hold["id"])).text
    assert (await buyer.stones(limit=1))[0]["available"] is True


async def test_a_hold_ends_by_the_vendors_clock(buyer: Buyer) -> None:
    stone = (await buyer.stones(limit=1))[0]["id"]
    await buyer.ask(HOLD, await buyer.log_in(), id=stone)
    assert (await buyer.stones(limit=1))[0]["availability"] == "HOLD"
    await buyer.door("clock", {"offset_s": 25 * 3600})
    assert (await buyer.stones(limit=1))[0]["availability"] == "AVAILABLE"


async def test_an_order_sells_all_its_stones_or_none(buyer: Buyer) -> None:
    token = await buyer.log_in()
    first, second = [stone["id"] for stone in await buyer.stones(limit=2)]
    order = "mutation O($items: [OrderItemInput!]!) { create_order(items: $items) }"
    both = [{"offerId": f"DIAMOND/{stone}", "customer_order_number": "42"} for stone in (first, second)]
    assert UUID((await buyer.ask(order, token, items=both[1:]))["create_order"])
    refused = (await buyer.post(order, token, items=both)).json()
    assert "not available" in refused["errors"][0]["message"]
    assert [stone["availability"] for stone in await buyer.stones(limit=2)] == ["AVAILABLE", "SOLD"]


async def test_sold_stones_are_hidden_by_the_availability_filter_only(buyer: Buyer) -> None:
    before = await buyer.count(LABGROWN)
    await buyer.door("sell-off", {"share": 0.1})
    assert await buyer.count(LABGROWN) < before
    assert await buyer.count({"labgrown": True}) == before
    sold = await buyer.page({"labgrown": True, "availability": ["SOLD"]})
    assert {item["diamond"]["availability"] for item in sold["items"]} == {"SOLD"}


async def test_the_dirt_of_real_payloads_is_there(buyer: Buyer) -> None:
    text = f"query S($q: DiamondQuery, $o: Int) {{ diamonds_by_query(query: $q, offset: $o) {{ items {whole_selection()} }} }}"
    token, items = await buyer.log_in(), []
    for labgrown in (True, False):
        for offset in range(0, 1_500, 50):
            data = await buyer.ask(text, token, q={"labgrown": labgrown}, o=offset)
            items += [(labgrown, item) for item in data["diamonds_by_query"]["items"]]
    diamonds = [(labgrown, item["diamond"]) for labgrown, item in items]
    reports = [(labgrown, diamond["certificate"]) for labgrown, diamond in diamonds if diamond["certificate"]]
    eye_clean = {diamond["eyeClean"] for _, diamond in diamonds}
    assert {None, "90%", "80%", "100%", "Yes", "No", "Borderline"} <= eye_clean
    assert {None, "No"} <= {diamond["milky"] for _, diamond in diamonds}
    assert "null" in {report["girdle"] for _, report in reports}
    assert any(report["lab"] == "NONE" and report["length"] == "0" for _, report in reports)
    assert {None, True} <= {report["labgrown"] for labgrown, report in reports if labgrown}
    assert any(report["cut"] is None for _, report in reports)
    assert any(report["cut"] and report["cut"].islower() for _, report in reports)
    assert any(report["color"] == "FANCY" and report["f_color"] is None for _, report in reports)
    assert any(report["color"] != "FANCY" and report["f_color"] for _, report in reports)
    assert {"AVAILABLE", "Available", "available"} == {diamond["availability"] for _, diamond in diamonds}
    assert {"STG", "STN"} <= {report["floInt"] for _, report in reports}
    assert any(
        diamond["image"] is None and report is None
        for _, diamond in diamonds
        for report in [diamond["image"]]
    )
    assert isinstance(reports[0][1]["length"], str)
    assert isinstance(reports[0][1]["carats"], float)


async def test_a_stone_is_faulty_exactly_when_the_door_says_so() -> None:
    buyer = Buyer()
    await buyer.faults(null_certificate={"probability": 0.02, "seed": 4})
    text = f"query S($q: DiamondQuery, $o: Int) {{ diamonds_by_query(query: $q, offset: $o) {{ items {whole_selection()} }} }}"
    token, faulty = await buyer.log_in(), set()
    for labgrown in (True, False):
        for offset in range(0, 1_500, 50):
            data = await buyer.ask(text, token, q={"labgrown": labgrown}, o=offset)
            faulty |= {
                item["diamond"]["id"]
                for item in data["diamonds_by_query"]["items"]
                if not understandable(item)
            }
    told = {stone["id"]: stone["fault"] for stone in await buyer.stones() if stone["fault"]}
    assert set(told) == faulty
    assert set(told.values()) == set(words.FAULTS) - {"huge_comment"}


def understandable(item: dict[str, Any]) -> bool:
    report = item["diamond"]["certificate"]
    return (
        report is not None
        and item["price"] is not None
        and report["shape"] in words.SHAPES
        and report["carats"] > 0
        and report["color"] in words.COLORS
    )


async def test_the_huge_comment_is_two_megabytes() -> None:
    buyer = Buyer()
    row = 7
    buyer.vendor.inventory["fault"][row] = words.FAULTS.index("huge_comment")
    text = "query G($id: ID!) { get_diamond_by_id(diamond_id: $id) { diamond { certificate { comments } } } }"
    stone = (await buyer.stones(limit=row + 1))[row]
    data = await buyer.ask(text, await buyer.log_in(), id=stone["id"])
    assert len(data["get_diamond_by_id"]["diamond"]["certificate"]["comments"]) == 2 * 1024 * 1024
