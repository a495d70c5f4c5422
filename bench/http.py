"""Searches over HTTP, one process: how much of a server's own speed is left once it searches.

    make bench-http              # STONES=1340000 SECONDS=5 ROUNDS=3

Claim: cold filters (no two alike), 24 items a page, at least half the rate of a FastAPI route on the same server that
answers the same bytes without searching, without a key and without a log line; p99 at most 10 ms at 16 connections; an
answer that has not changed (304) at least 0.9 of that rate. uvicorn and granian are compared, and the one that
`api.server` uses is held to the claim.

The service is the real one but for its topic and its keys: the index is filled in the process, and the keys are fixed.
Beside the rates stands the server's processor time a request, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from granian.constants import Interfaces
from granian.server.embed import Server as Granian
from starlette.types import ASGIApp, Receive, Scope, Send

from adamas.ports import free_ports
from api.app import create_app
from api.engine.fast_index import FastIndex
from api.engine.warming import warm
from api.freshness import Freshness
from api.keyring import Caller
from api.keys import Scope as KeyScope
from api.search import PATH
from api.service import Service
from bench.accounts import used_s
from bench.options import parser
from drills.report import Figure, finish, print_environment
from drills.searches import query_strings
from drills.stock import batches, canonical_stock
from runtime.asgi import Answer, config
from runtime.heap import spare_the_collector
from runtime.logs import configure_logs
from runtime.settings import LogSettings

KEY: Final = "adm_" + "k" * 43
USED: Final = "uvicorn"
SERVERS: Final = ("uvicorn", "granian")
CONNECTIONS: Final = 16
QUERIES: Final = 20_000
SAMPLED: Final = 600
GOAL_SHARE: Final = 0.5
GOAL_304: Final = 0.9
GOAL_P99_MS: Final = 10

_ASKED: Final = ("searches", "plain", "unchanged")

_LUA: Final = """
local requests, at = {}, 0
for line in io.lines("%s") do requests[#requests + 1] = line end
local paths, headers = {}, {}
for number, line in ipairs(requests) do
  local path, etag = line:match("^(%%S+)%%s*(.*)$")
  paths[number] = path
  headers[number] = {["X-API-Key"] = "%s", ["If-None-Match"] = etag ~= "" and etag or nil}
end
request = function()
  at = at %% #paths + 1
  return wrk.format("GET", paths[at], headers[at])
end
"""


_BENCH: Final = Caller("bench", frozenset({KeyScope.READ_DIAMONDS}))


class FixedKeys:
    """One key, that may read."""

    loaded = True

    def known(self, key: str) -> Caller | None:
        """The key's owner."""
        return _BENCH if key == KEY else None

    async def find(self, key: str) -> Caller | None:
        """The key's owner."""
        return self.known(key)


class Both:
    """The service, and beside it on the same server a plain FastAPI route that knows the answers by heart."""

    def __init__(self, service: ASGIApp, plain: ASGIApp) -> None:
        self._service = service
        self._plain = plain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from one or the other."""
        app = self._plain if scope.get("path") == "/plain" else self._service
        await app(scope, receive, send)


def serve(server: str, port: int, stones: int, seed: int) -> None:
    """Be the server, until told to stop."""
    configure_logs(LogSettings(format="json"), "api")
    sys.setswitchinterval(0.001)
    warm()
    index, freshness = FastIndex(), Freshness(("bench",))
    for batch in batches(canonical_stock(stones, seed)):
        index.apply(batch)
    # As the service does once all is loaded.
    index.settle()
    index.fragments.touch()
    spare_the_collector()
    freshness.note("bench", {"bench": int(time.time() * 1000)})
    service = create_app(Service(index, FixedKeys(), freshness=freshness))
    bodies: dict[bytes, bytes] = {}
    plain = FastAPI()

    @plain.get("/plain")
    async def known(request: Request) -> Response:
        return Response(bodies[request.scope["query_string"]], media_type="application/json")

    def is_lesson(scope: Scope) -> bool:
        # The bench asks each query once; what it got is what the plain route answers.
        return scope.get("path") == PATH and (b"x-learn", b"1") in scope.get("headers", ())

    def at_once(scope: Scope) -> Answer | None:
        return None if is_lesson(scope) else service.at_once(scope)

    async def learn(scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []

        async def note(message: Any) -> None:
            if message["type"] == "http.response.body":
                parts.append(message["body"])
            await send(message)

        wanted = is_lesson(scope)
        await Both(service, plain)(scope, receive, note if wanted else send)
        if wanted:
            bodies[scope["query_string"]] = b"".join(parts)

    print("ready", flush=True)
    if server == "uvicorn":
        uvicorn.Server(config(learn, at_once, port=port, loop="uvloop")).run()
    else:
        _serve_granian(learn, port)


def _serve_granian(app: Any, port: int) -> None:
    async def run() -> None:
        server = Granian(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, server.stop)
        await server.serve()

    import uvloop

    uvloop.run(run())


def main() -> None:
    """Measure both servers and print the figures."""
    told = parser(__doc__, stones=1_340_000, seconds=5, rounds=3, seed=11, port=0)
    told.add_argument("--serve", choices=SERVERS)
    options = told.parse_args()
    if options.serve:
        serve(options.serve, options.port, options.stones, options.seed)
        return
    if shutil.which("wrk") is None:
        sys.exit("bench-http needs wrk (Debian: apt-get install wrk)")
    print_environment("fastapi", "uvicorn", "granian", "numpy", "msgspec")
    measured = {server: _measure(server, options) for server in SERVERS}
    best = measured[USED]
    finish(
        "bench-http",
        [
            Figure("share_of_empty_route", round(best["share"], 3), "ratio", f">= {GOAL_SHARE}"),
            Figure("p99_ms", round(best["p99_ms"], 2), "ms", f"<= {GOAL_P99_MS}"),
            Figure("share_304", round(best["share_304"], 3), "ratio", f">= {GOAL_304}"),
            *(
                Figure(f"{server}_{name}", round(values[name]), "requests/s")
                for server, values in measured.items()
                for name in _ASKED
            ),
            *(
                Figure(
                    f"{server}_{name}_us", round(values[f"{name}_us"], 1), "µs of the server's processor time"
                )
                for server, values in measured.items()
                for name in _ASKED
            ),
            Figure("stones", options.stones, "stones"),
        ],
    )


def _measure(server: str, options: argparse.Namespace) -> dict[str, float]:
    queries = query_strings(QUERIES, options.seed)
    with _served(server, options) as (base, pid), tempfile.TemporaryDirectory() as folder:
        sampled = queries[:SAMPLED]
        totals, sizes, etags = [], [], []
        for query in sampled:
            body, etag = _ask(f"{base}{PATH}?{query}")
            totals.append(json.loads(body)["total"])
            sizes.append(len(body))
            etags.append(etag)
        at = statistics.quantiles(totals, n=10)
        print(
            f"{server}: matches a query p10 {at[0]:.0f}, p50 {at[4]:.0f}, p90 {at[8]:.0f}, max {max(totals)};"
            f" {statistics.mean(sizes):.0f} bytes an answer"
        )
        scripts = {
            "searches": _script(folder, "searches", [f"{PATH}?{query}" for query in queries[SAMPLED:]]),
            "plain": _script(folder, "plain", [f"/plain?{query}" for query in sampled]),
            "unchanged": _script(
                folder,
                "unchanged",
                [f"{PATH}?{query} {etag}" for query, etag in zip(sampled, etags, strict=True)],
            ),
        }
        runs = [
            {name: _wrk(base, pid, script, options.seconds) for name, script in scripts.items()}
            for _ in range(options.rounds)
        ]
    for number, run in enumerate(runs, 1):
        told = ", ".join(
            f"{name} {rate:.0f}/s (p99 {p99:.1f} ms, {us:.0f} µs)" for name, (rate, p99, us) in run.items()
        )
        print(f"{server} round {number}: {told}")
    found = {name: statistics.median(run[name][0] for run in runs) for name in scripts}
    found["share"] = statistics.median(run["searches"][0] / run["plain"][0] for run in runs)
    found["share_304"] = statistics.median(run["unchanged"][0] / run["plain"][0] for run in runs)
    found |= {f"{name}_us": statistics.median(run[name][2] for run in runs) for name in scripts}
    found["p99_ms"] = statistics.median(run["searches"][1] for run in runs)
    return found


@contextmanager
def _served(server: str, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "bench.http", "--serve", server, "--port", str(port)]
    command += ["--stones", str(options.stones), "--seed", str(options.seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"{server} did not start")
            base = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while True:
                try:
                    _ask(f"{base}/health/live")
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            yield base, process.pid
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _ask(url: str) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers={"X-API-Key": KEY, "X-Learn": "1"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read(), reply.headers.get("ETag", "")


def _script(folder: str, name: str, lines: list[str]) -> Path:
    requests, script = Path(folder) / f"{name}.txt", Path(folder) / f"{name}.lua"
    requests.write_text("\n".join(lines) + "\n")
    script.write_text(_LUA % (requests, KEY))
    return script


def _wrk(base: str, pid: int, script: Path, seconds: int) -> tuple[float, float, float]:
    """Requests a second, p99 in milliseconds, and the server's processor time a request in microseconds."""
    before_s = used_s(pid)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), base]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in told and "unchanged" not in script.name:
        raise RuntimeError(told)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    answered = re.search(r"(\d+) requests in", told)
    assert rate is not None
    assert p99 is not None
    assert answered is not None
    used_us = 1e6 * (used_s(pid) - before_s) / int(answered[1])
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]], used_us


if __name__ == "__main__":
    main()
