"""Stopping: first signal drains, closing goes backwards, a hanging drain and a second signal end the process."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from runtime.shutdown import EXIT_DRAIN_TIMED_OUT, SAME_SIGNAL_S, Shutdown


def test_a_signal_requests_the_stop_and_closers_run_backwards() -> None:
    closed: list[str] = []
    with Shutdown() as shutdown:
        shutdown.on_close(lambda: closed.append("first opened"))
        shutdown.on_close(lambda: closed.append("last opened"))
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.wait(5)
        assert closed == []
    assert closed == ["last opened", "first opened"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_dead_side_task_stops_the_process_with_its_error() -> None:
    with pytest.raises(ConnectionError, match="gone"), Shutdown() as shutdown:
        shutdown.fail(ConnectionError("gone"))


def test_asyncio_waits_for_the_same_event() -> None:
    async def work(shutdown: Shutdown) -> None:
        event = shutdown.as_asyncio_event()
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.wait_for(event.wait(), 5)

    with Shutdown() as shutdown:
        asyncio.run(work(shutdown))


def test_a_callback_added_after_the_request_is_called() -> None:
    called: list[bool] = []
    with Shutdown() as shutdown:
        shutdown.request("test")
        shutdown.on_request(lambda: called.append(True))
    assert called == [True]


HANGS = """
import sys, time
from runtime.shutdown import Shutdown
with Shutdown(grace_s=float(sys.argv[1])) as shutdown:
    print("up", flush=True)
    shutdown.wait()
    time.sleep(60)
"""


def _hanging(grace_s: float) -> "subprocess.Popen[str]":
    child = subprocess.Popen([sys.executable, "-c", HANGS, str(grace_s)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    child.stdout.close()
    return child


def test_a_drain_that_hangs_is_cut_off() -> None:
    child = _hanging(grace_s=0.2)
    child.terminate()
    assert child.wait(60) == EXIT_DRAIN_TIMED_OUT


def test_a_second_signal_leaves_at_once() -> None:
    child = _hanging(grace_s=60)
    child.terminate()
    time.sleep(SAME_SIGNAL_S + 1)
    child.terminate()
    assert child.wait(60) == 128 + signal.SIGTERM


def test_one_stop_that_arrives_twice_is_one_stop() -> None:
    child = _hanging(grace_s=0.5)
    child.terminate()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == EXIT_DRAIN_TIMED_OUT
