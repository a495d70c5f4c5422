"""A vendor whose stock lives while it is read: at the end every stone is as it is there, and changes show in time.

    make drill-living SEED=7 ARGS='--minutes 10 --stones 20000'

About 50 changes a second (prices, sales, holds, new stones, media), some replies half a minute late, some pages short, and
our clock 20 minutes from the vendor's. Meanwhile some stones are watched: from the vendor's change until a search
finds it, and from the page in the raw log until then. Then life stops, one incremental and one full sweep follow
(and the incremental that covers the sweep), and the canonical topic is held beside the vendor, field by field.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from api.keys import ALL_SCOPES, ensure_key, new_key
from connectors.feeds.nivoda import vocabulary as words
from connectors.feeds.table import word
from drills.freshness import Delays, Watch
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage, Stock, alive, for_sale
from drills.stage import Stage
from drills.vendor import DrillVendor
from schemas.feeds import STANDARD

STONES: Final = 20_000
MINUTES: Final = 10.0
WATCHED: Final = 400
SAMPLES: Final = 1_000
CLOCK_OFF_S: Final = 1_200
LIFE: Final = {"price_moves": 40, "sales": 2, "holds": 3, "new": 3, "media": 2, "hold_s": 20}
LATE: Final = {
    "latency": {
        "probability": 1,
        "median_ms": 200,
        "sigma": 0.4,
        "tail_probability": 0.003,
        "tail_ms": 30_000,
    },
    "short_page": {"probability": 0.02},
}
FRESH_GOAL_S: Final = 75
OURS_GOAL_S: Final = 2
AS_IT_IS: Final = {"cost_cents": "cost_cents", "carat": "carats", "certificate_number": "certificate_number"}
IN_WORDS: Final = {
    "shape": words.SHAPES,
    "color": words.COLOR_GRADES,
    "clarity": words.CLARITY_GRADES,
    "polish": words.QUALITY_GRADES,
    "symmetry": words.QUALITY_GRADES,
    "fluorescence": words.FLUORESCENCE_GRADES,
    "lab": words.LABS,
}


def wrong_fields(stock: Stock, truth: Mapping[str, Mapping[str, Any]], draw: random.Random) -> list[str]:
    """Fields that are not the vendor's, over a sample of what it sells."""
    living = sorted(alive(truth))
    wrong = []
    for stone in draw.sample(living, min(SAMPLES, len(living))):
        ours, real = stock.get(stone), truth[stone]
        if ours is None:
            wrong.append(f"{stone}: not in stock")
            continue
        told = {field: real[name] for field, name in AS_IT_IS.items()}
        told |= {field: table.get(word(str(real[field])), real[field]) for field, table in IN_WORDS.items()}
        told |= {"lab_grown": real["lab_grown"], "availability": "available"}
        wrong += [
            f"{stone}: {name} {ours[name]!r}, not {value!r}"
            for name, value in told.items()
            if ours[name] != value
        ]
    return wrong


def live(runs: RunsStage, minutes: float, seed: int, key: str, ahead_s: float) -> Delays:
    """Let the vendor live and watch it."""
    vendor = runs.vendor
    with Watch(runs.stage, vendor, STANDARD[0], WATCHED, key, ahead_s) as watch:
        vendor.set_life(**LIFE, seed=seed)
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            time.sleep(min(30.0, max(0.0, until - time.monotonic())))
            if watch.failure is not None:
                raise watch.failure
            print(f"{len(watch.delays.fresh)} changes seen, {watch.waiting} wait")
        vendor.set_life()
        time.sleep(float(LIFE["hold_s"]) + 1)
        # What changed last is seen by the next incremental run, and its last reply may be late.
        runs.run("incremental")
        runs.wait_idle()
        time.sleep(3)
        print(f"{watch.waiting} changes were never seen")
        return watch.delays


def percentile(values: list[float], percent: float) -> float:
    """A percentile; endless where nothing was measured."""
    return round(float(np.percentile(values, percent)), 2) if values else float("inf")


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("faust-streaming", "confluent-kafka", "fastapi")
    ahead_s = draw.choice([-CLOCK_OFF_S, CLOCK_OFF_S])
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        vendor.set_clock(-ahead_s)
        key = new_key()
        ensure_key(stage.dsn, "drill", ALL_SCOPES, key)
        runs = RunsStage(stage, vendor, {})
        runs.start("sink", "process", "api", "ingest")
        stage.wait_ready("api")
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "first sweeps")
        runs.wait_settled([str(runs.last_run(feed, "full")) for feed in STANDARD])
        vendor.set_faults(LATE)
        delays = live(runs, arguments.minutes, draw.randrange(1 << 30), key, ahead_s)
        vendor.set_faults(dict.fromkeys(LATE))
        full = runs.sweep()
        runs.wait_idle()
        print(
            runs.query(
                "SELECT run, retirement, retirement_detail FROM runs WHERE run = ANY($1)", [*full.values()]
            )
        )
        stock, truth = runs.stock(), vendor.truth()
        seen = vendor.witness()
    wrong = wrong_fields(stock, truth, draw)
    print("\n".join(wrong[:20]))
    living, selling = alive(truth), for_sale(stock)
    finish(
        "drill-living",
        [
            Figure("wrong_fields", len(wrong), "fields", "== 0"),
            Figure("retired_alive", len(living - selling), "stones", "== 0"),
            Figure("sold_for_sale", len(selling - living), "stones", "== 0"),
            Figure("fresh_p95_s", percentile(delays.fresh, 95), "s", f"<= {FRESH_GOAL_S}"),
            Figure("ours_p99_s", percentile(delays.ours, 99), "s", f"<= {OURS_GOAL_S}"),
            Figure("fresh_p50_s", percentile(delays.fresh, 50), "s"),
            Figure("watched", len(delays.fresh), "changes", ">= 1"),
            Figure("violations", seen.violations, "violations", "== 0"),
        ],
    )


if __name__ == "__main__":
    main()
