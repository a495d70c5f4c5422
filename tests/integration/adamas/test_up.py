"""`adamas up` as a whole: up.json, first stones, kept data and key, a killed member, a clean stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from adamas.ports import free_block
from adamas.stack import PORT_SPAN

START_S = 200.0
STOP_S = 60.0
STONES = 300


@pytest.fixture(scope="module")
def port_base() -> int:
    return free_block(2 * PORT_SPAN)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "data"


@contextmanager
def _up(data: Path, port_base: int, *more: str) -> Iterator["subprocess.Popen[str]"]:
    options = ["--stones", str(STONES), "--port-base", str(port_base), "--data", str(data), *more]
    command = [sys.executable, "-m", "adamas.cli", "up", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as stack:
        try:
            yield stack
        finally:
            with suppress(ProcessLookupError):
                stack.send_signal(signal.SIGTERM)


def _state(stack: "subprocess.Popen[str]", data: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not (data / "up.json").exists():
        assert stack.poll() is None, stack.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    state: dict[str, Any] = json.loads((data / "up.json").read_text())
    return state


def _total(state: dict[str, Any]) -> int:
    reply = httpx.get(f"{state['api']}/v1/diamonds", params={"limit": 1}, headers={"X-API-Key": state["key"]})
    return int(reply.raise_for_status().json()["total"])


def _await_stones(state: dict[str, Any]) -> None:
    deadline = time.monotonic() + START_S
    while _total(state) < STONES * 0.9:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _running(state: dict[str, Any]) -> list[int]:
    """What still runs. In a container whose first process buries nobody, the dead of a killed parent stay listed."""
    found = [psutil.Process(pid) for pid in state["pids"].values() if psutil.pid_exists(pid)]
    return [process.pid for process in found if process.status() != psutil.STATUS_ZOMBIE]


def _command(data: Path, command: str) -> str:
    """What a command of this stack prints, in a shell that knows nothing but the stack's `env`."""
    bare = {"PATH": os.defpath, "HOME": os.environ["HOME"]}
    return subprocess.run(
        ["sh", "-c", f". '{data}/env'; {command}"], env=bare, capture_output=True, text=True, check=True
    ).stdout


def _stop(stack: "subprocess.Popen[str]", data: Path, state: dict[str, Any]) -> None:
    stack.send_signal(signal.SIGINT)
    assert stack.communicate(timeout=STOP_S)[0].rstrip().endswith(str(data))
    assert stack.returncode == 0
    assert not (data / "up.json").exists()
    assert not (data / "env").exists()
    assert _running(state) == []


def test_a_first_start_a_clean_stop_and_a_second_start_with_the_kept_data(data: Path, port_base: int) -> None:
    with _up(data, port_base, "--api", "2", "--process", "2") as stack:
        first = _state(stack, data)
        assert set(first) == {"api", "monitor", "simulator", "kafka", "postgres", "key", "pids"}
        assert set(first["pids"]) == {
            "kafka", "postgres", "simulator", "ingest", "sink", "process", "process-2", "api", "api-2",
            "monitor",
        }  # fmt: skip
        _await_stones(first)
        assert _command(data, "adamas keys list").startswith("demo ")
        _stop(stack, data, first)
    with _up(data, port_base) as stack:
        second = _state(stack, data)
        assert second["key"] == first["key"]
        assert _total(second) > STONES * 0.9
        _stop(stack, data, second)


def test_a_member_that_dies_stops_everything_and_is_named(data: Path, port_base: int) -> None:
    with _up(data, port_base) as stack:
        state = _state(stack, data)
        os.kill(state["pids"]["sink"], signal.SIGKILL)
        output = stack.communicate(timeout=STOP_S)[0]
    assert stack.returncode == 1
    assert "sink was ended by SIGKILL" in output
    assert str(data / "logs" / "sink.log") in output
    assert "Traceback" not in output
    assert _running(state) == []


def test_two_stacks_do_not_share_a_folder_and_a_killed_one_leaves_nothing(data: Path, port_base: int) -> None:
    with _up(data, port_base) as stack:
        state = _state(stack, data)
        with _up(data, port_base + PORT_SPAN) as other:
            assert f"Another `make up` (process {stack.pid}) uses" in other.communicate(timeout=STOP_S)[0]
        assert other.returncode == 1
        stack.kill()
    # Of the killed one; the next removes it too, but only once it has begun.
    (data / "up.json").unlink()
    with _up(data, port_base) as stack:
        # The killed one's children stop by themselves, and this one waits for their ports.
        after = _state(stack, data)
        assert _running(state) == []
        _stop(stack, data, after)


def test_a_taken_port_is_named_with_what_to_do(data: Path, port_base: int) -> None:
    with socket.socket() as taken:
        # Connections of the stacks before may linger on the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port_base))
        taken.listen()
        with _up(data, port_base) as stack:
            output = stack.communicate(timeout=STOP_S)[0]
    assert stack.returncode == 1
    assert f"In use by another program: port {port_base} (API 1)" in output
    assert "make up PORT_BASE=" in output


def test_it_stops_cleanly_when_nobody_reads_its_output(data: Path, port_base: int) -> None:
    with _up(data, port_base) as stack:
        state = _state(stack, data)
        assert stack.stdout is not None
        stack.stdout.close()
        time.sleep(2)
        assert stack.poll() is None
        stack.send_signal(signal.SIGTERM)
        assert stack.wait(STOP_S) == 0
    assert _running(state) == []
