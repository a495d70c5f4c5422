"""The application around a small stock, without Kafka and Postgres."""

from collections.abc import Iterable
from typing import ClassVar

from fastapi import FastAPI

from api.app import create_app
from api.freshness import Freshness
from api.index import Batch
from api.keyring import Caller
from api.keys import ALL_SCOPES, Scope
from api.plain_index import PlainIndex
from api.service import Service
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

    async def find(self, key: str) -> Caller | None:
        return self._callers.get(key)


def app_of(stones: Iterable[Stone], **positions: int) -> FastAPI:
    index = PlainIndex()
    index.apply(batch_of(*stones))
    index.apply(Batch([], [], [], positions))
    freshness = Freshness(("a", "b"))
    freshness.note("first", index.positions)
    return create_app(Service(index, FixedKeys(), freshness=freshness))
