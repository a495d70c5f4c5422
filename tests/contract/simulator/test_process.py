"""The simulator as a process of its own: how it stops, comes back, and tells when a request arrived."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from adamas.ports import free_ports
from tests.contract.simulator.buyer import COUNT

_START = """
import sys
from connectors.simulator.server import run
from connectors.simulator.settings import SimulatorSettings
run(SimulatorSettings(port=int(sys.argv[1]), stones=500, requests_per_s=1))
"""


@contextmanager
def simulator(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _START, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_until_open(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        assert process.poll() is None, "the simulator ended at once"
        try:
            httpx.get(f"http://127.0.0.1:{port}/_sim/stats")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the simulator did not come up")


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_it_ends_cleanly_on_sigterm(port: int) -> None:
    with simulator(port) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_it_ends_in_time_and_quietly_while_an_answer_sleeps(port: int) -> None:
    with simulator(port) as process, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        client.post("/_sim/faults", json={"hang": {"hang_s": 600}}).raise_for_status()
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/diamonds", json={"query": COUNT}, timeout=httpx.Timeout(5, read=0.2))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert b"Traceback" not in errors


def test_killed_and_started_again_it_serves_the_same_stones(port: int) -> None:
    seen = []
    for _ in range(2):
        with simulator(port):
            seen.append(httpx.get(f"http://127.0.0.1:{port}/_sim/stones").text)
    assert seen[0] == seen[1]
    assert seen[0].count("\n") == 500


@pytest.mark.skipif(sys.platform != "linux", reason="arrivals are stamped by the kernel on Linux only")
def test_requests_read_together_count_by_when_they_arrived(port: int) -> None:
    """One request a second is allowed; a stopped process reads two, sent 1.2 s apart, at the same moment."""
    base = f"http://127.0.0.1:{port}"
    with (
        simulator(port) as process,
        httpx.Client(base_url=base) as first,
        httpx.Client(base_url=base) as second,
    ):
        for client in (first, second):
            client.get("/_sim/stats")
        os.kill(process.pid, signal.SIGSTOP)
        for client in (first, second):
            with pytest.raises(httpx.ReadTimeout):
                client.post("/api/diamonds", json={"query": COUNT}, timeout=httpx.Timeout(5, read=1.2))
        os.kill(process.pid, signal.SIGCONT)
        stats = wait_for_requests(base, 2)
        assert (stats["most_in_a_second"], stats["violations"]) == (1, 0)


def wait_for_requests(base: str, requests: int) -> dict[str, int]:
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s:
        stats: dict[str, int] = httpx.get(f"{base}/_sim/stats").json()
        if stats["requests"] == requests:
            return stats
        time.sleep(0.05)
    raise AssertionError("the requests were not counted")
