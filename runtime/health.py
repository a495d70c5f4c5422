"""Health over HTTP: `/health/startup|live|ready` and `/metrics`, for processes without an API of their own.

Ready means caught up; alive means progress, or waiting for a stated reason. A process registers its probes in a
`Health`, and whoever speaks HTTP (`serve_health`, or the API's own routes) renders `Health.report`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self

import structlog
from prometheus_client import REGISTRY, exposition

from runtime.settings import HealthSettings
from runtime.version import VERSION

log = structlog.stdlib.get_logger(__name__)


class Aspect(StrEnum):
    """What an orchestrator asks: has it started, does it live, may it get traffic."""

    STARTUP = "startup"
    LIVE = "live"
    READY = "ready"


@dataclass(frozen=True)
class Check:
    """One probe's answer; `detail` says in a word or a few figures why."""

    ok: bool
    detail: Any = None


Probe = Callable[[], Check]


@dataclass
class Health:
    """The probes of one process. Probes run on every request and must answer at once."""

    version: str = VERSION
    _probes: dict[Aspect, dict[str, Probe]] = field(default_factory=lambda: {aspect: {} for aspect in Aspect})

    def add(self, name: str, probe: Probe, on: Iterable[Aspect] = (Aspect.READY,)) -> None:
        """Ask `probe` for each of the named aspects; a name registered again replaces the former probe."""
        for aspect in on:
            self._probes[aspect][name] = probe

    def report(self, aspect: Aspect) -> tuple[int, dict[str, Any]]:
        """The HTTP status (200 or 503) and the JSON body. An aspect without probes is fine."""
        checks = {name: _answer(probe) for name, probe in self._probes[aspect].items()}
        ok = all(check.ok for check in checks.values())
        body = {
            "status": "ok" if ok else "failing",
            "version": self.version,
            "checks": {name: {"ok": check.ok, "detail": check.detail} for name, check in checks.items()},
        }
        return (200 if ok else 503), body


def _answer(probe: Probe) -> Check:
    """A probe that fails says so in its answer: a health page that fails with it would hide the others."""
    try:
        return probe()
    except Exception as error:
        log.exception("health.probe_failed")
        return Check(False, type(error).__name__)


class HealthServer:
    """Serves one `Health` on a thread of its own; `port` is the one really taken."""

    def __init__(self, settings: HealthSettings, health: Health) -> None:
        self._server = _Server((settings.host, settings.port), health)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve_health(settings: HealthSettings, health: Health) -> HealthServer:
    """`with serve_health(settings.health, health): ...`; raises `OSError` when the port is taken."""
    return HealthServer(settings, health)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], health: Health) -> None:
        super().__init__(address, _Handler)
        self.health = health


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # A client that connects and says nothing must not keep its thread for ever.
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path.startswith("/health/") and path.removeprefix("/health/") in list(Aspect):
            status, body = self.server.health.report(Aspect(path.removeprefix("/health/")))
            self._send(status, "application/json", json.dumps(body).encode())
        else:
            self._send(404, "application/json", b'{"status": "no such page"}')

    def _metrics(self) -> None:
        encode, content_type = exposition.choose_encoder(self.headers.get("Accept") or "")
        self._send(200, content_type, encode(REGISTRY))

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: probes come every few seconds and say nothing new."""
