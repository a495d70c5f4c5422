"""Health answers by name with details; one failing probe makes it 503 and hides none of the others."""

import httpx
import pytest

from runtime.health import Aspect, Check, Health, serve_health
from runtime.settings import HealthSettings


@pytest.fixture
def health() -> Health:
    return Health(version="1.2.3")


def test_the_page_names_every_check(health: Health) -> None:
    health.add("tail", lambda: Check(True, {"behind": 0}))
    health.add("postgres", lambda: Check(False, "refused"))
    with serve_health(HealthSettings(port=0), health) as server:
        reply = httpx.get(f"http://127.0.0.1:{server.port}/health/ready")
    assert reply.status_code == 503
    assert reply.json() == {
        "status": "failing",
        "version": "1.2.3",
        "checks": {
            "tail": {"ok": True, "detail": {"behind": 0}},
            "postgres": {"ok": False, "detail": "refused"},
        },
    }


def test_aspects_are_separate(health: Health) -> None:
    health.add("caught_up", lambda: Check(False), on=(Aspect.READY,))
    assert health.report(Aspect.LIVE)[0] == 200
    assert health.report(Aspect.READY)[0] == 503


def test_a_probe_that_raises_is_a_failing_check(health: Health) -> None:
    def broken() -> Check:
        raise ConnectionError("no")

    health.add("broken", broken)
    health.add("fine", lambda: Check(True))
    status, body = health.report(Aspect.READY)
    assert (status, body["checks"]["broken"]["detail"], body["checks"]["fine"]["ok"]) == (
        503,
        "ConnectionError",
        True,
    )


def test_metrics_and_unknown_pages(health: Health) -> None:
    with serve_health(HealthSettings(port=0), health) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert "python_info" in httpx.get(f"{base}/metrics").text
        assert httpx.get(f"{base}/health/other").status_code == 404
        assert httpx.get(f"{base}/").status_code == 404


def test_a_taken_port_is_an_error(health: Health) -> None:
    with serve_health(HealthSettings(port=0), health) as first, pytest.raises(OSError, match="in use"):
        serve_health(HealthSettings(port=first.port), health)
