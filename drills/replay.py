"""Replay: what a preview says is what happens, the same code changes nothing, and an undo brings everything back.

    make drill-replay SEED=7        # python -m drills.replay --seed 7 --stones 40000 --sweeps 60

A stock is swept several times. Then the whole log is replayed by the owner behind its fresh facts and by the group's
offsets, under the code that wrote it: Postgres must not change by a bit, and a shadow must report no difference. Then a
changed mapper is deployed: its shadow tells what differs, is promoted, and undone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from drills.commands import adamas_json, write_mapper
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import wait_idle
from operating.shadow import PROVENANCE
from schemas.sql import STONE_COLUMNS

FEED: Final = "nivoda-natural"
SWEEPS: Final = 60
"""Of a replay that is over in three seconds, as one of 10 sweeps is, no forecast can be judged."""
CHANGE: Final = """(
    replace(row, parser=replace(row.parser, table={**row.parser.table, "ROUND": "CUSHION"})) if row.field == "shape" else row
)"""
CONTENT: Final = ", ".join(column.name for column in STONE_COLUMNS if column.name not in PROVENANCE)
_SAMPLE_S: Final = 0.2


def checksum(stage: Stage, columns: str = "d") -> str:
    """Of all rows in stock, every column or some."""
    query = f"SELECT md5(string_agg(ROW({columns})::text, ',' ORDER BY id)) FROM diamonds d WHERE retired_at IS NULL"
    (row,) = asyncio.run(stage.fetch(query))
    return str(row["md5"])


@dataclass
class Forecast:
    """Watches the latest replay job from a thread: what its ETA said at half way, and how it was.

    Attributes:
        error_percent: difference between foretold and real duration, from the first progress on; in percent of the real.
    """

    dsn: str
    error_percent: float = 100.0
    _samples: list[tuple[float, int, int, float | None]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Forecast:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        moving = [sample for sample in self._samples if sample[1] > 0]
        if not moving:
            return
        began, end = moving[0][0], next((s[0] for s in moving if s[1] >= s[2]), moving[-1][0])
        half = next((s for s in moving if 2 * s[1] >= s[2] and s[3] is not None and s[1] < s[2]), None)
        if half is not None and half[3] is not None and end > began:
            foretold = half[0] + half[3] - began
            self.error_percent = 100 * abs(foretold - (end - began)) / (end - began)
            print(
                f"  at {half[1]} of {half[2]}: {half[3]:.1f} s to go foretold, {end - half[0]:.1f} s needed"
            )

    async def _watch(self) -> None:
        from runtime import jobs

        link = await asyncpg.connect(self.dsn)
        while not self._stop.is_set():
            found = [job for job in await jobs.recent(link, open_only=True) if job.kind == "replay"]
            for job in found[:1]:
                self._samples.append((time.monotonic(), job.done, job.total or 1, job.eta_s()))
            await asyncio.sleep(_SAMPLE_S)
        await link.close()


def replayed(stage: Stage, by: str) -> tuple[Any, float]:
    """Replay the feed's whole log; what the command said, and the ETA's error in percent."""
    with Forecast(stage.dsn) as forecast:
        arguments = ("--feed", FEED, "--from", "0", "--by", by, "--yes")
        said = adamas_json(stage, "replay", "raw", *arguments)
    print(f"by {by}: {json.dumps(said['result'])}")
    return said, forecast.error_percent


def mismatches(said: Any) -> int:
    """How far a replay's result is from its preview, in records and items."""
    preview, result = said["preview"], said["result"]
    return sum(abs(int(preview[name]) - int(result[name])) for name in ("records", "items"))


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=40_000)
    parser.add_argument("--sweeps", type=int, default=SWEEPS)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    print_environment("faust-streaming", "confluent-kafka")
    with Stage() as stage:
        traffic = Traffic(stage.kafka, options.stones, seed=draw.randrange(1 << 30))
        for _ in range(options.sweeps):
            for _ in traffic.sweep():
                pass
        for name in ("sink", "monitor", "process"):
            stage.start(name)
        wait_idle(stage, traffic.log.written, timeout_s=600)
        before, content = checksum(stage), checksum(stage, CONTENT)

        behind, eta_behind = replayed(stage, "background")
        offsets, eta_offsets = replayed(stage, "offsets")
        wait_idle(stage, traffic.log.written, timeout_s=600)
        changed_by_same = int(checksum(stage) != before)
        shadow = adamas_json(stage, "replay", "raw", "--feed", FEED, "--from", "0", "--shadow")["result"]
        print(f"shadow of the same code: {json.dumps(shadow)}")
        counted = mismatches(behind) + mismatches(offsets)

        mapper = write_mapper(stage.folder / "changed_mapping.py", 2, CHANGE)
        changed, restored = _changed(stage, mapper, content)
        counted += changed["unlike_preview"]
    finish(
        "drill-replay",
        [
            Figure(
                "differences", shadow["differing"] + changed_by_same + counted + restored, "stones", "== 0"
            ),
            Figure("eta_error_percent", round(max(eta_behind, eta_offsets), 1), "percent", "<= 15"),
            Figure("shadow_differences", shadow["differing"], "stones", "== 0"),
            Figure("checksum_changed", changed_by_same, "times", "== 0"),
            Figure("unlike_preview", counted, "records and items", "== 0"),
            Figure("not_restored", restored, "times", "== 0"),
            Figure("rewritten", changed["rewritten"], "stones", ">= 1"),
            Figure("eta_background_percent", round(eta_behind, 1), "percent"),
            Figure("eta_offsets_percent", round(eta_offsets, 1), "percent"),
            Figure("records_per_s", behind["result"].get("records_per_s") or 0, "records/s"),
            Figure("stones", options.stones, "stones"),
        ],
    )


def _changed(stage: Stage, mapper: Path, content: str) -> tuple[dict[str, int], int]:
    """Deploy a changed mapper, promote its shadow, undo it; what was rewritten, and whether it came back."""
    stage.children["process"].stop(30)
    stage.start("process", {"DRILL_MAPPER": str(mapper)}, module="drills.changed_mapper")
    stage.wait_ready("process", 120)
    arguments = ("--feed", FEED, "--from", "0")
    shadow = adamas_json(stage, "replay", "raw", *arguments, "--shadow", mapper=mapper)
    print(
        f"shadow of changed code: {shadow['result']['differing']} differ in {list(shadow['result']['fields'])}"
    )
    preview = adamas_json(stage, "replay", "raw", *arguments, mapper=mapper)["preview"]
    promoted = adamas_json(stage, "replay", "promote", str(shadow["job"]), "--yes", mapper=mapper)
    result = promoted["result"]
    print(f"promoted: {json.dumps(result)}")
    rewritten = sum(result["written"].values())
    differing = _differing(stage)
    undone = adamas_json(stage, "replay", "undo", str(promoted["job"]), "--yes", mapper=mapper)["result"]
    print(f"undone: {json.dumps(undone)}")
    unlike = (
        abs(preview["rewritten"] - rewritten)
        + abs(preview["items"] - result["items"])
        + abs(differing - shadow["result"]["differing"])
        + abs(undone["restored"] - differing)
    )
    return {"rewritten": rewritten, "unlike_preview": unlike}, int(checksum(stage, CONTENT) != content)


def _differing(stage: Stage) -> int:
    """Stones whose content the latest replay changed, by what it kept of them."""
    (row,) = asyncio.run(
        stage.fetch(
            "SELECT count(*) FROM replay_images i JOIN diamonds d ON d.id = i.stone_id"
            " WHERE i.job = (SELECT max(job) FROM replay_images) AND d.content_hash <> i.image->>'content_hash'"
        )
    )
    return int(row["count"])


if __name__ == "__main__":
    main()
