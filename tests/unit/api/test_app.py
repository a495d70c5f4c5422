from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.plain_index import PlainIndex
from schemas.stone import PUBLIC_FIELDS, Availability
from tests.unit.api.clients import BUYER, POWERLESS, READER, app_of
from tests.unit.api.stock import as_public
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
    assert body["trace_id"] == answer.headers["x-trace-id"]


async def test_a_bad_parameter_names_field_rule_and_nearest(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/diamonds?shape=ROUNDISH")).json()
    assert (body["field"], body["nearest"]) == ("shape", "ROUND")
    assert "ROUNDISH" in body["rule"]


async def test_the_callers_trace_goes_on(client: httpx.AsyncClient) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = await client.get("/v1/diamonds", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.headers["x-trace-id"] == trace


async def test_a_request_is_one_log_line_that_names_the_key(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        await client.get("/v1/diamonds/nivoda-natural:1")
    (line,) = [line for line in lines if line["event"] == "api.answered"]
    assert line["key"] == "reader"
    assert line["status"] == 200
    assert line["route"] == "/v1/diamonds/{id}"
    assert line["as_of"] == "2026-01-02T03:04:05.678Z"
    assert READER not in str(lines)


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
