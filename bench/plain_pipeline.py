"""The pipeline a tutorial would give: a Faust event a stone, Faust's own send, one upsert a stone.

Run by `bench.replay` as a process of its own. It normalises and prices with the same functions as Adamas, so that
only the plumbing differs. When all stones are done it prints the seconds between the first and the last one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import faust
import msgspec

from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.nivoda.mapping import MAPPER_VERSION, MAPPING
from schemas.errors import Invalid
from schemas.feeds import FEEDS, STANDARD
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.sql import STONE_COLUMNS, create_table
from schemas.stone import Cause, Stone, content_hash, encode
from schemas.vendor import Item
from streams.normalise import Normaliser
from streams.pricing.engine import PriceBook

SOURCE: Final = "plain.raw"
TARGET: Final = "plain.priced"
TABLE: Final = "plain_diamonds"

_NAMES: Final = [column.name for column in STONE_COLUMNS]
_UPSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(_NAMES)}) VALUES ({', '.join(f'${i + 1}' for i in range(len(_NAMES)))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in _NAMES)}"
)


def main() -> None:
    """Process `PLAIN_STONES` stones of Kafka at `PLAIN_KAFKA` into Postgres at `PLAIN_DSN`."""
    expected = int(os.environ["PLAIN_STONES"])
    app = faust.App(
        "plain",
        broker=f"kafka://{os.environ['PLAIN_KAFKA']}",
        value_serializer="json",
        web_enabled=False,
        datadir=tempfile.mkdtemp(prefix="plain-"),
        topic_allow_declare=False,
        topic_disable_leader=True,
    )
    source = app.topic(SOURCE)
    target = app.topic(TARGET)
    book = PriceBook(
        PublishedRuleSet(number=1, published_at=0, actor="bench", reason="bench", content=RuleSet())
    )
    normalisers = {
        name: Normaliser(MAPPING, MAPPER_VERSION, feed, NIVODA_FORM)
        for name, feed in FEEDS.items()
        if name in STANDARD
    }

    async def priced(stones: Any) -> None:
        connection = await asyncpg.connect(os.environ["PLAIN_DSN"])
        await connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        await connection.execute(create_table(TABLE, STONE_COLUMNS, "id"))
        upsert = await connection.prepare(_UPSERT)
        done, started = 0, 0.0
        async for record in stones:
            started = started or time.perf_counter()
            try:
                stone = _price(normalisers[record["feed"]], book, record["item"])
            except Invalid:
                stone = None
            if stone is not None:
                await target.send(key=stone.id.encode(), value=json.loads(encode(stone)))
                await upsert.fetch(*msgspec.structs.astuple(stone))
            done += 1
            if done == expected:
                print(json.dumps({"stones": done, "seconds": time.perf_counter() - started}))
                sys.stdout.flush()
                os._exit(0)

    app.agent(source)(priced)
    worker = faust.Worker(app, loglevel="warn")
    worker.execute_from_commandline()


def _price(normaliser: Normaliser, book: PriceBook, item: Any) -> Stone:
    content = normaliser.content(msgspec.convert(item, Item))
    price = book.price(content)
    return Stone(
        **msgspec.structs.asdict(content),
        price_cents=price.price_cents,
        rule=price.rule,
        rules_version=book.number,
        updated_at=datetime.now(UTC),
        seq=1,
        mapper_version=MAPPER_VERSION,
        content_hash=content_hash(encode(content)),
        cause=Cause.NEW,
        margin_bps=price.margin_bps,
        raw_offset=0,
    )


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())
    main()
