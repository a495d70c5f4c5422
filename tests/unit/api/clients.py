"""The application around a small stock, without Kafka and Postgres."""

from collections.abc import Iterable
from typing import ClassVar

import httpx
from fastapi import FastAPI

from api.app import create_app
from api.fragments import NOTHING
from api.freshness import Freshness
from api.index import Batch
from api.keyring import Caller, Keys
from api.keys import ALL_SCOPES, Scope
from api.plain_index import PlainIndex
from api.service import Service
from api.values import NO_STONES
from schemas.stone import Stone
from tests.unit.api.stock import batch_of

READER = "adm_" + "r" * 43
BUYER = "adm_" + "b" * 43
POWERLESS = "adm_" + "p" * 43


class FixedKeys:
    """Three keys: one that reads, one that may do everything, one that may do nothing."""

    loaded = True
    _callers: ClassVar = {
        READER: Caller("reader", frozenset({Scope.READ_DIAMONDS})),
        BUYER: Caller("buyer", frozenset(ALL_SCOPES)),
        POWERLESS: Caller("powerless", frozenset({Scope.ADMIN})),
    }

    def known(self, key: str) -> Caller | None:
        return self._callers.get(key)

    async def find(self, key: str) -> Caller | None:
        return self.known(key)


class StockApp:
    """The application and what stands behind it, of which all is in memory."""

    def __init__(self, stones: Iterable[Stone], keys: Keys | None = None, /, **positions: int) -> None:
        self.index = PlainIndex()
        self.index.apply(batch_of(*stones))
        self.index.apply(
            Batch(NO_STONES, NOTHING, [], positions or {"a": 1_767_323_045_678, "b": 1_767_323_046_000})
        )
        self.freshness = Freshness(("a", "b"))
        self.freshness.note("first", self.index.positions)
        self.app = create_app(Service(self.index, keys or FixedKeys(), freshness=self.freshness))

    def client(self, key: str = READER) -> httpx.AsyncClient:
        """A client with a key."""
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": key})


def app_of(stones: Iterable[Stone], **positions: int) -> FastAPI:
    return StockApp(stones, **positions).app
