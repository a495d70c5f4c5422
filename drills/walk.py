"""Walks over a whole stock by cursor while a tenth of it changes: none that stayed in its place is missed or told twice.

    make drill-walk SEED=11          # STONES=100000

The API's application over its index, without a network: page after page by `next`, in several orders. Between two pages
stones get other prices, are held, leave and come. A stone whose place in the order changes may be passed over or met
again, as in any walk by cursor; how many were met again is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Final

import httpx
import msgspec

from api.app import create_app
from api.engine.fast_index import FastIndex
from api.engine.warming import warm
from api.fragments import NOTHING
from api.freshness import Freshness
from api.index import Batch
from api.keyring import Caller
from api.keys import Scope
from api.service import Service
from api.values import values_of
from drills.report import Figure, finish, print_environment
from drills.stock import batches, canonical_stock
from runtime.logs import configure_logs
from runtime.settings import LogSettings
from schemas.stone import Availability, Stone

KEY: Final = "adm_" + "w" * 43
ORDERS: Final = ("price_cents", "-carat", "color,-price_cents", "-updated_at")
PAGE: Final = 250
CHANGED_SHARE: Final = 0.12
_GOAL_SHARE: Final = 0.1
_DISTINCT: Final = 10_000


class _OneKey:
    loaded = True

    def known(self, key: str) -> Caller | None:
        return Caller("walker", frozenset({Scope.READ_DIAMONDS, Scope.EXPORT})) if key == KEY else None

    async def find(self, key: str) -> Caller | None:
        return self.known(key)


class Walk:
    """One walk, and the changes that go on beside it."""

    def __init__(self, index: FastIndex, stones: dict[str, Stone], chance: random.Random) -> None:
        self._index = index
        self._stones = stones
        self._chance = chance
        self.touched: set[str] = set()

    async def run(self, client: httpx.AsyncClient, order: str) -> Counter[str]:
        """How often each stone was told."""
        told: Counter[str] = Counter()
        params = {"sort": order, "limit": str(PAGE), "fields": "slim"}
        pages = len(self._stones) // PAGE + 1
        while True:
            answer = await client.get("/v1/diamonds", params=params)
            answer.raise_for_status()
            body = json.loads(answer.content)
            told.update(item["id"] for item in body["items"])
            if body["next"] is None:
                return told
            params["cursor"] = body["next"]
            self._change(round(CHANGED_SHARE * len(self._stones) / pages))

    def _change(self, count: int) -> None:
        changed, gone = dict[str, Stone](), dict[str, None]()
        for stone_id in self._chance.sample(list(self._stones), count):
            stone = self._stones[stone_id]
            what = self._chance.random()
            if what < 0.7:
                price = max(1, round(stone.price_cents * self._chance.uniform(0.8, 1.2)))
                stone = msgspec.structs.replace(stone, price_cents=price)
            elif what < 0.8:
                stone = msgspec.structs.replace(stone, availability=Availability.ON_HOLD)
            elif what < 0.9:
                new = (
                    f"{stone.feed}:{self._chance.getrandbits(32):08x}-0000-4000-9000-{len(self.touched):012x}"
                )
                stone = msgspec.structs.replace(stone, id=new)
            else:
                gone[stone_id] = None
                continue
            changed[stone.id] = stone
        self.touched |= changed.keys() | gone.keys()
        for batch in batches(changed.values()):
            self._index.apply(batch)
        self._index.apply(Batch(values_of([]), NOTHING, list(gone), {}))
        self._stones |= changed
        for stone_id in gone:
            del self._stones[stone_id]


def main() -> None:
    """Walk in each order and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--stones", type=int, default=int(os.environ.get("STONES", "100000")))
    options = parser.parse_args()
    print_environment("numpy", "numba", "fastapi")
    configure_logs(LogSettings(level="WARNING"), "drill")
    warm()
    index, stones = FastIndex(), dict[str, Stone]()
    for stone in canonical_stock(options.stones, options.seed, _DISTINCT):
        stones[stone.id] = stone
    for batch in batches(stones.values()):
        index.apply(batch)
    missed, twice, again, changed = asyncio.run(_walk(index, stones, random.Random(options.seed)))
    finish(
        "drill-walk",
        [
            Figure("missed", missed, "stones", "== 0"),
            Figure("told_twice", twice, "stones", "== 0"),
            Figure("moved_and_met_again", again, "stones"),
            Figure(
                "changed",
                changed,
                "stones",
                f">= {round(len(ORDERS) * options.stones * _GOAL_SHARE)}",
            ),
            Figure("walks", len(ORDERS), "walks"),
            Figure("stones", len(index), "stones"),
        ],
    )


async def _walk(
    index: FastIndex, stones: dict[str, Stone], chance: random.Random
) -> tuple[int, int, int, int]:
    freshness = Freshness(("drill",))
    freshness.note("drill", {"drill": int(time.time() * 1000)})
    app = create_app(Service(index, _OneKey(), freshness=freshness))
    missed = twice = again = changed = 0
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://drill", headers={"X-API-Key": KEY}
    ) as client:
        for order in ORDERS:
            there = {i for i, stone in stones.items() if stone.availability is Availability.AVAILABLE}
            walk = Walk(index, stones, chance)
            told = await walk.run(client, order)
            stayed = there - walk.touched
            missed += len(stayed - told.keys())
            twice += sum(count > 1 for stone_id, count in told.items() if stone_id in stayed)
            again += sum(count > 1 for stone_id, count in told.items() if stone_id not in stayed)
            changed += len(walk.touched)
            print(f"{order}: {len(told)} told, {len(walk.touched)} changed meanwhile", flush=True)
    return missed, twice, again, changed


if __name__ == "__main__":
    main()
