"""A run as a person looks at it: everything the command and the route show."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.runs import store
from connectors.runs.ledger import Verdict, ledger_of, shown
from connectors.runs.states import OPEN
from runtime.postgres import Link
from runtime.settings import IngestSettings


async def whole(link: Link, run: str, settings: IngestSettings) -> dict[str, Any]:
    """A run with its ledger, partitions and history. The ledger is computed anew while details are kept.

    Raises:
        Invalid: there is no such run.
    """
    found = await store.get(link, run)
    view: dict[str, Any] = store.shown(found)
    if found.archived_at is None:
        ledger = shown(await ledger_of(link, run, settings.count_off_percent))
        # Red is said when there was time for every receipt to come; until then the ledger is open.
        unsettled = found.ledger is None and ledger["verdict"] == Verdict.RED
        if found.state in OPEN or unsettled:
            ledger["verdict"] = Verdict.OPEN
        view["ledger"] = ledger
    view["partitions"] = msgspec.to_builtins(await store.partitions(link, run))
    view["transitions"] = msgspec.to_builtins(await store.transitions(link, run))
    return view
