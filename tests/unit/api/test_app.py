import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import cramjam
import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from api.cursors import to_cursor
from api.items import SLIM_FIELDS
from api.keyring import Caller
from api.plain_index import PlainIndex
from api.query import DEFAULT_SORT, After
from schemas.stone import PUBLIC_FIELDS, Availability
from tests.unit.api.clients import BUYER, POWERLESS, READER, FixedKeys, StockApp, app_of
from tests.unit.api.stock import as_public, batch_of
from tests.unit.schemas.stones import make_stone

STOCK = [make_stone(id=f"nivoda-natural:{n}", price_cents=1000 * n, cost_cents=7 * n) for n in range(30)]
HELD = make_stone(id="nivoda-natural:held", availability=Availability.ON_HOLD)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = app_of([*STOCK, HELD], a=1_767_323_045_678, b=1_767_323_046_000)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"X-API-Key": READER}
    ) as made:
        yield made


async def test_a_search_answers_items_total_next_and_age(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/diamonds", params={"sort": "-price_cents", "limit": "2"})
    assert answer.status_code == 200
    body = answer.json()
    assert [item["id"] for item in body["items"]] == ["nivoda-natural:29", "nivoda-natural:28"]
    assert (body["total"], body["as_of"]) == (30, "2026-01-02T03:04:05.678Z")
    following = await client.get(
        "/v1/diamonds", params={"sort": "-price_cents", "limit": "2", "cursor": body["next"]}
    )
    assert [item["id"] for item in following.json()["items"]] == ["nivoda-natural:27", "nivoda-natural:26"]


async def test_a_walk_by_cursor_is_complete_and_never_repeats(client: httpx.AsyncClient) -> None:
    walked: list[str] = []
    params = {"limit": "7", "sort": "color,-carat"}
    while True:
        body = (await client.get("/v1/diamonds", params=params)).json()
        walked += [item["id"] for item in body["items"]]
        if body["next"] is None:
            break
        params["cursor"] = body["next"]
    assert sorted(walked) == sorted(stone.id for stone in STOCK)


async def test_an_item_is_the_public_part_and_the_cost_needs_its_scope(client: httpx.AsyncClient) -> None:
    url = "/v1/diamonds/nivoda-natural:3"
    whole = as_public(STOCK[3])
    public = (await client.get(url)).json()
    assert public == {name: whole[name] for name in PUBLIC_FIELDS}
    bought = (await client.get(url, headers={"X-API-Key": BUYER})).json()
    assert bought == {"cost_cents": 21, **public}
    page = (await client.get("/v1/diamonds?limit=1", headers={"X-API-Key": BUYER})).json()
    assert page["items"][0]["cost_cents"] == 0
    assert "cost_cents" not in (await client.get("/v1/diamonds?limit=1")).text


async def test_only_what_is_available_unless_asked(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/diamonds?availability=on_hold")).json()["items"][0]["id"] == HELD.id
    assert (await client.get("/v1/diamonds?availability=on_hold,available")).json()["total"] == 31
    assert (await client.get(f"/v1/diamonds/{HELD.id}")).json()["availability"] == "on_hold"


async def test_an_answer_that_has_not_changed_is_not_sent_again() -> None:
    stock = StockApp([make_stone(id="nivoda-natural:1")])
    async with stock.client() as client:
        first = await client.get("/v1/diamonds?shape=ROUND")
        etag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        again = await client.get("/v1/diamonds?shape=ROUND", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["x-as-of"] == "2026-01-02T03:04:05.678Z"
        for url, key in (("/v1/diamonds?shape=OVAL", READER), ("/v1/diamonds?shape=ROUND", BUYER)):
            other = await client.get(url, headers={"If-None-Match": etag, "X-API-Key": key})
            assert other.status_code == 200
        stock.freshness.note("next", stock.index.positions)
        changed = await client.get("/v1/diamonds?shape=ROUND", headers={"If-None-Match": etag})
        assert changed.status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
async def test_an_answer_is_compressed_if_the_caller_can_read_it(
    client: httpx.AsyncClient, coding: str
) -> None:
    request = client.build_request("GET", "/v1/diamonds", headers={"Accept-Encoding": coding})
    answer = await client.send(request, stream=True)
    body = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding", "identity") == coding
    assert answer.headers["content-length"] == str(len(body))
    if coding == "gzip":
        body = gzip.decompress(body)
    elif coding == "zstd":
        body = bytes(cramjam.zstd.decompress(body))
    assert msgspec.json.decode(body)["total"] == 30


async def test_slim_items_have_what_a_list_shows(client: httpx.AsyncClient) -> None:
    for key in (READER, BUYER):
        client.headers["X-API-Key"] = key
        full = (await client.get("/v1/diamonds?limit=3")).json()["items"]
        slim = (await client.get("/v1/diamonds?limit=3&fields=slim")).json()["items"]
        kept = {*SLIM_FIELDS, *(("cost_cents",) if key == BUYER else ())}
        assert slim == [{name: value for name, value in item.items() if name in kept} for item in full]
        assert set(slim[0]) == kept


async def test_numbered_pages_and_cursors_tell_the_same(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/diamonds?limit=4&sort=carat")).json()
    second = (await client.get(f"/v1/diamonds?limit=4&sort=carat&cursor={first['next']}")).json()
    assert (await client.get("/v1/diamonds?limit=4&sort=carat&offset=4")).json()["items"] == second["items"]


async def test_facets_come_in_the_same_call(client: httpx.AsyncClient) -> None:
    facets = (await client.get("/v1/diamonds?shape=OVAL&facets=shape,lab_grown,cut,price_cents")).json()[
        "facets"
    ]
    assert sum(facets["shape"].values()) == 30
    assert facets["lab_grown"] == {"false": facets["shape"].get("OVAL", 0)} or facets["lab_grown"] == {}
    assert set(facets["price_cents"]) == {"count", "min", "max", "mean", "edges", "buckets"}
    assert len(facets["price_cents"]["buckets"]) == len(facets["price_cents"]["edges"]) + 1


async def test_free_text_becomes_filters_and_says_so(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/diamonds", params={"q": "sparkly round under $100", "limit": 50})).json()
    assert body["understood"] == {
        "filters": {"shape": "ROUND", "price_cents_max": "10000"},
        "not_understood": ["sparkly"],
    }
    assert all(item["price_cents"] <= 10000 and item["shape"] == "ROUND" for item in body["items"])
    spoken = (await client.get("/v1/diamonds", params={"q": "round", "shape": "OVAL"})).json()
    assert spoken["understood"]["filters"] == {}
    assert spoken["total"] == 0


async def test_a_caller_may_ask_for_a_greatest_age(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/diamonds?max_age=60")
    assert (answer.status_code, answer.json()["type"]) == (412, "/problems/data-too-old")
    assert answer.json()["as_of"] == "2026-01-02T03:04:05.678Z"
    assert (await client.get("/v1/diamonds?max_age=999999999")).status_code == 200


async def test_without_the_scope_for_export_a_walk_ends_at_the_cap(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.search.WALK_CAP", 10)
    walked, params = 0, {"limit": "4"}
    while True:
        body = (await client.get("/v1/diamonds", params=params)).json()
        walked += len(body["items"])
        if body["next"] is None:
            break
        params["cursor"] = body["next"]
    assert (walked, body["capped"], body["total"]) == (10, True, 30)
    beyond = to_cursor(After((10000,), "nivoda-natural:10"), DEFAULT_SORT, 10, zlib.crc32(b""))
    refused = await client.get(f"/v1/diamonds?cursor={beyond}")
    assert (refused.status_code, refused.json()["field"]) == (422, "cursor")
    allowed = await client.get(f"/v1/diamonds?cursor={beyond}", headers={"X-API-Key": BUYER})
    assert allowed.json()["items"][0]["price_cents"] == 11000


async def test_a_walk_misses_none_that_stayed_while_others_change() -> None:
    stock = StockApp([make_stone(id=f"nivoda-natural:{n:03}", price_cents=100 + n // 3) for n in range(200)])
    stayed = {f"nivoda-natural:{n:03}" for n in range(200) if n % 10}
    walked, params = list[str](), {"limit": "7"}
    async with stock.client(BUYER) as client:
        for turn in range(100):
            body = (await client.get("/v1/diamonds", params=params)).json()
            walked += [item["id"] for item in body["items"]]
            if body["next"] is None:
                break
            params["cursor"] = body["next"]
            moving = f"nivoda-natural:{10 * (turn % 20):03}"
            stock.index.apply(batch_of(make_stone(id=moving, price_cents=100 + 7 * turn % 90)))
    assert stayed <= set(walked)
    assert len([stone_id for stone_id in walked if stone_id in stayed]) == len(stayed)


async def test_a_private_filter_needs_its_scope(client: httpx.AsyncClient) -> None:
    refused = await client.get("/v1/diamonds?cost_cents_max=14")
    assert (refused.status_code, refused.json()["scope"]) == (403, "cost:read")
    bought = await client.get("/v1/diamonds?cost_cents_max=14", headers={"X-API-Key": BUYER})
    assert bought.json()["total"] == 3


async def test_counts_only(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/diamonds/count?price_cents_max=4000&facets=shape")).json()
    assert (body["total"], body["as_of"]) == (5, "2026-01-02T03:04:05.678Z")
    assert sum(body["facets"]["shape"].values()) == 5
    assert (await client.get("/v1/diamonds/count?limit=4")).json()["field"] == "limit"


async def test_several_searches_in_one_call(client: httpx.AsyncClient) -> None:
    searches: list[dict[str, Any]] = [
        {"shape": ["ROUND"], "price_cents_max": 3000, "limit": 2},
        {"shape": ["SQUIRCLE"]},
        {"lab_grown": False, "sort": "-price_cents", "limit": 1},
    ]
    answers = (await client.post("/v1/diamonds/batch", json={"searches": searches})).json()["answers"]
    for search, answer in zip(searches[::2], answers[::2], strict=True):
        params = {
            name: ",".join(value) if isinstance(value, list) else str(value).lower()
            for name, value in search.items()
        }
        assert answer == (await client.get("/v1/diamonds", params=params)).json()
    assert (answers[1]["status"], answers[1]["field"]) == (422, "shape")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "searches"),
        (b'{"searches": []}', "searches"),
        (b'{"searches": [1]}', "searches.0"),
        (b'{"searches": [{"shape": {}}]}', "searches.0.shape"),
        (b'{"searches": [{}], "more": 1}', "searches"),
        (b"[" * 100_000, "body"),
    ],
)
async def test_a_bad_batch_is_refused_as_a_whole(client: httpx.AsyncClient, body: bytes, field: str) -> None:
    answer = await client.post("/v1/diamonds/batch", content=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


async def test_stones_are_compared_in_the_order_asked(client: httpx.AsyncClient) -> None:
    ids = "nivoda-natural:4,nivoda-natural:none,nivoda-natural:2"
    body = (await client.get(f"/v1/diamonds/compare?ids={ids}")).json()
    assert [item["price_cents"] for item in body["items"]] == [4000, 2000]
    assert body["missing"] == ["nivoda-natural:none"]
    assert {"id", "price_cents"} <= set(body["differ"])
    assert "shape" not in body["differ"]
    too_many = await client.get("/v1/diamonds/compare?ids=" + ",".join(map(str, range(21))))
    assert (too_many.status_code, too_many.json()["field"]) == (422, "ids")


async def test_related_stones_are_close_and_span_the_choice(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/diamonds/nivoda-natural:20/related?limit=6")).json()
    ids = [item["id"] for item in body["items"]]
    assert len(ids) == 6
    assert "nivoda-natural:20" not in ids
    assert set(body["roles"]) <= set(ids)
    assert "nivoda-natural:21" in ids
    assert (await client.get("/v1/diamonds/nivoda-natural:none/related")).status_code == 404


@pytest.mark.parametrize(
    ("url", "key", "status", "kind"),
    [
        ("/v1/diamonds", None, 401, "not-authenticated"),
        ("/v1/diamonds", "adm_nonsense", 401, "not-authenticated"),
        ("/v1/diamonds", POWERLESS, 403, "not-allowed"),
        ("/v1/diamonds/nivoda-natural:none", READER, 404, "not-found"),
        ("/v1/diamonds?limit=0", READER, 422, "bad-parameter"),
        ("/v1/nothing", READER, 404, "not-found"),
    ],
)
async def test_a_refusal_is_a_problem_document(
    client: httpx.AsyncClient, url: str, key: str | None, status: int, kind: str
) -> None:
    del client.headers["X-API-Key"]
    answer = await client.get(url, headers={} if key is None else {"X-API-Key": key})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"/problems/{kind}"
    assert body["status"] == status
    assert body["field"]
    assert body["rule"] in body["detail"]
    assert body["trace_id"] == answer.headers["x-trace-id"]


async def test_a_cursor_goes_on_with_its_own_filters_only(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/diamonds?carat_min=0.1&lab_grown=false&limit=2")).json()["next"]
    same = f"lab_grown=false&carat_min=0.1&limit=3&fields=slim&facets=shape&cursor={first}"
    assert (await client.get(f"/v1/diamonds?{same}")).status_code == 200
    for other in (
        "",
        "carat_min=0.2&lab_grown=false&",
        "carat_min=0.1&lab_grown=false&shape=ROUND&",
        "q=round&",
    ):
        refused = await client.get(f"/v1/diamonds?{other}limit=2&cursor={first}")
        assert (refused.status_code, refused.json()["field"]) == (422, "cursor")
        assert "other filters" in refused.json()["rule"]


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "field", "rule"),
    [
        ("POST", "/v1/diamonds", b"", 405, "method", "must be GET here"),
        ("PUT", "/v1/runs", b"", 405, "method", "must be GET or POST here"),
        ("GET", "/v1/nothing", b"", 404, "path", "leads nowhere"),
        ("GET", "/v1/jobs?limit=0", b"", 422, "limit", "must be greater than or equal to 1"),
        ("GET", "/v1/jobs?sparkle=1", b"", 422, "sparkle", "is not a parameter here"),
        ("GET", "/v1/jobs?limit=1&limit=2", b"", 422, "limit", "is given twice"),
        ("GET", "/v1/diamonds/compare", b"", 422, "ids", "is missing"),
        ("GET", "/v1/diamonds/compare?ids=a&ids=b", b"", 422, "ids", "is given twice"),
        ("GET", "/v1/diamonds/compare?ids=%00", b"", 422, "ids", "NUL"),
        ("GET", "/v1/diamonds/nivoda-natural:%00/availability", b"", 422, "id", "NUL"),
        ("GET", "/v1/diamonds/%00/price", b"", 422, "stone", "NUL"),
        ("GET", "/v1/diamonds/x/price?at=0001-01-01T00:00:00%2B14:00", b"", 422, "at", "1970 to 9998"),
        ("GET", "/v1/prices?from=9999-12-31T23:59:59-14:00", b"", 422, "from", "1970 to 9998"),
        ("GET", "/v1/sums?x=1", b"", 422, "x", "is not a parameter here"),
        ("GET", "/v1/diamonds?sort=", b"", 422, "sort", "has an empty value"),
        ("GET", "/v1/diamonds?=1", b"", 422, "(no name)", "is not a parameter of this search"),
        ("POST", "/v1/replays/preview", b"garbage", 422, "body", "must be JSON"),
        ("POST", "/v1/replays/preview", b"[]", 422, "body", "must be a mapping"),
        ("POST", "/v1/replays/preview", b"\xff", 400, "body", "parsing"),
        ("POST", "/v1/rules/draft", b'{"rules": {}, "note": "\\u0000"}', 422, "body", "NUL"),
    ],
)
async def test_whatever_is_wrong_has_a_field_and_a_rule(
    method: str, url: str, body: bytes, status: int, field: str, rule: str
) -> None:
    async with StockApp(STOCK).client(BUYER) as client:
        answer = await client.request(method, url, content=body, headers={"Content-Type": "application/json"})
    told = answer.json()
    assert (answer.status_code, told["field"]) == (status, field)
    assert rule in told["rule"]
    assert told["detail"] == f"{told['field']} {told['rule']}"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_is_not_taken_is_told_the_ones_that_are(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/v1/runs")).headers["Allow"] == "GET, POST"


async def test_json_that_comes_as_a_form_is_told_what_it_lacks() -> None:
    async with StockApp(STOCK).client(BUYER) as client:
        answer = await client.post("/v1/replays/preview", data={"feed": "nivoda-natural"})
    assert answer.json()["field"] == "body"
    assert "Content-Type must be application/json" in answer.json()["rule"]


async def test_advice_to_use_commas_is_for_lists_only(client: httpx.AsyncClient) -> None:
    rules = [
        (await client.get(f"/v1/diamonds?{name}=1&{name}=2")).json()["rule"] for name in ("limit", "shape")
    ]
    assert rules == ["is given twice", "is given twice; put the values into one, with commas"]


async def test_a_bad_parameter_names_field_rule_and_nearest(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/diamonds?shape=ROUNDISH")).json()
    assert (body["field"], body["nearest"]) == ("shape", "ROUND")
    assert "ROUNDISH" in body["rule"]


async def test_the_callers_trace_goes_on(client: httpx.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client.get("/v1/diamonds", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.headers["x-trace-id"] == trace


class SlowKeys(FixedKeys):
    """As `FixedKeys`, but none is in memory."""

    def known(self, key: str) -> Caller | None:
        return None

    async def find(self, key: str) -> Caller | None:
        return super().known(key)


async def test_a_key_that_is_looked_up_first_gets_the_same_answers_and_one_line_each() -> None:
    shops = StockApp(STOCK), StockApp(STOCK, SlowKeys())
    for url in (
        "/v1/diamonds?limit=3&sort=-price_cents",
        "/v1/diamonds?limit=none",
        "/v1/diamonds?max_age=1",
    ):
        for key in (READER, POWERLESS, "adm_" + "n" * 43):
            told = []
            for shop in shops:
                with capture_logs() as lines:
                    async with shop.client(key) as client:
                        answer = await client.get(url)
                members = {name: value for name, value in answer.json().items() if name != "trace_id"}
                (line,) = [line for line in lines if line["event"] == "api.answered"]
                assert line["trace_id"] == answer.headers["x-trace-id"]
                told.append((answer.status_code, members, line["status"], line["route"], line["key"]))
            assert told[0] == told[1]


async def test_a_request_is_one_log_line_that_names_the_key(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await client.get("/v1/diamonds/nivoda-natural:1")
    (line,) = [line for line in lines if line["event"] == "api.answered"]
    assert line["key"] == "reader"
    assert line["status"] == 200
    assert line["route"] == "/v1/diamonds/{id}"
    assert line["as_of"] == "2026-01-02T03:04:05.678Z"
    assert READER not in str(lines)


async def test_a_refused_search_says_what_is_near_and_never_more(client: httpx.AsyncClient) -> None:
    for url, field, nearest in (
        ("/v1/diamonds?shape=" + ",".join(["ROUND"] * 10_000), "shape", 8192),
        ("/v1/diamonds?q=" + "x" * 60_000, "q", 8192),
        ("/v1/diamonds?offset=9999990", "offset", 9976),
        ("/v1/diamonds?carat_min=2&carat_max=1", "carat_min", 1),
    ):
        answer = await client.get(url)
        assert answer.status_code == 422
        body = answer.json()
        assert (body["field"], body["nearest"]) == (field, nearest)
        assert body["rule"]


async def test_our_own_mistake_is_a_problem_that_tells_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(PlainIndex, "search", fail)
    with capture_logs() as lines:
        answer = await client.get("/v1/diamonds")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]
    assert "api.failed" in [line["event"] for line in lines]


async def test_the_age_is_unknown_while_a_feed_has_none() -> None:
    transport = httpx.ASGITransport(app_of(STOCK, a=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = (await client.get("/v1/diamonds", headers={"X-API-Key": READER})).json()
    assert body["as_of"] is None
    assert body["total"] == len(STOCK)


async def test_health_and_metrics_need_no_key(client: httpx.AsyncClient) -> None:
    del client.headers["X-API-Key"]
    for path in ("/health/startup", "/health/live", "/health/ready", "/metrics", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
