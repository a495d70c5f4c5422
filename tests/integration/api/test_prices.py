"""The price history by HTTP: as CSV, whole, for whoever may see costs."""

from __future__ import annotations

import csv
import io

import httpx

from api.app import create_app
from api.plain_index import PlainIndex
from api.service import Service
from runtime.postgres import Database
from tests.unit.api.clients import BUYER, READER, FixedKeys

ROWS = 1_500


def client(database: Database | None, key: str = BUYER) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(Service(PlainIndex(), FixedKeys(), database=database)))
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": key})


async def test_the_history_comes_as_csv(database: str) -> None:
    async with Database(database, "test") as opened:
        async with opened.link() as link:
            await link.execute("SELECT make_price_history_month('2026-01-01'::date)")
            await link.execute(
                "INSERT INTO price_history SELECT 'f:' || n % 3, n, 1, 1, 100 + n, NULL, 'USD', 100, 4000, 'a', 'new',"
                " '2026-01-02'::timestamptz + n * interval '1 s', NULL FROM generate_series(0, $1::int - 1) AS n",
                ROWS,
            )
        async with client(opened) as buyer:
            reply = await buyer.get("/v1/prices", params={"stone": "f:1"})
            assert reply.headers["content-type"].startswith("text/csv")
            rows = list(csv.DictReader(io.StringIO(reply.text)))
            assert [int(row["price_cents"]) for row in rows] == list(range(101, 100 + ROWS, 3))
            times = {"from": "2026-01-02T00:00:10Z", "to": "2026-01-02T00:00:12Z"}
            assert len((await buyer.get("/v1/prices", params=times)).text.splitlines()) == 3
            assert (await buyer.get("/v1/prices")).status_code == 422
            late = {"from": times["to"], "to": times["from"]}
            assert (await buyer.get("/v1/prices", params=late)).status_code == 422
            for odd in ({"stone": "f:\0"}, {"rule": "\0"}, {"to": "9999-12-31T23:59:59-14:00"}):
                assert (await buyer.get("/v1/prices", params=odd)).status_code == 422
            assert (await buyer.get("/v1/diamonds/f%00/price")).status_code == 422
        async with client(opened, READER) as reader:
            assert (await reader.get("/v1/prices", params={"stone": "f:1"})).status_code == 403


async def test_without_postgres_there_is_no_torn_file() -> None:
    async with client(None) as buyer:
        assert (await buyer.get("/v1/prices", params={"stone": "f:1"})).status_code == 503
