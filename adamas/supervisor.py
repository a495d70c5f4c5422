"""Starts the members of a stack as child processes, notices the first that ends, stops them all."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar

from adamas.children import Child, launch
from adamas.embedded.kafka import EmbeddedKafka
from adamas.embedded.postgres import EmbeddedPostgres
from adamas.stack import Member

ResultT = TypeVar("ResultT")

MEMBERS_STOP_S: Final = 8.0
"""How long our processes have to drain; with the servers' own time-outs the whole stops within 15 s."""


class Supervisor:
    """The children of one stack. Use it from the main thread, whose end they would not survive.

    Args:
        logs: the folder of the members' log files.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._members: dict[str, Child] = {}
        self._servers: dict[str, EmbeddedKafka | EmbeddedPostgres] = {}

    def start_server(self, name: str, server: EmbeddedKafka | EmbeddedPostgres) -> None:
        """Launch a server that is prepared."""
        server.launch()
        self._servers[name] = server

    def start_member(self, member: Member) -> None:
        """Launch one of our own processes; its log begins anew."""
        log_file = self._logs / f"{member.name}.log"
        log_file.unlink(missing_ok=True)
        # By module, not by the installed command: it works in a checkout that was never installed.
        command = [sys.executable, "-m", "adamas.cli", member.command]
        environment = {**_inherited(), **member.environment}
        self._members[member.name] = launch(member.name, command, log_file, environment=environment)

    def pids(self) -> dict[str, int]:
        """Process ids by name, the servers among them."""
        return {child_name: child.pid for child_name, child in self._children().items()}

    def check(self) -> None:
        """Raise `ChildDied`, with its last log lines, when a child has ended."""
        for child in self._children().values():
            child.check()

    def stop(self) -> None:
        """Stop the members together, then the servers they were writing to."""
        _stop_together(self._members.values(), MEMBERS_STOP_S)
        _in_parallel([server.stop for server in self._servers.values()])

    def kill(self) -> None:
        """End everything on the spot."""
        for child in self._children().values():
            if child.exit_code is None:
                child.process.send_signal(signal.SIGKILL)

    def _children(self) -> dict[str, Child]:
        servers = {name: server.child for name, server in self._servers.items()}
        return {**servers, **self._members}


def _inherited() -> dict[str, str]:
    """Our environment without settings meant for other stacks."""
    kept = ("ADAMAS_LOG_", "ADAMAS_OTLP_", "ADAMAS_SIM_", "ADAMAS_NOTIFY_")
    return {k: v for k, v in os.environ.items() if not k.startswith("ADAMAS_") or k.startswith(kept)}


def _stop_together(children: Iterable[Child], timeout_s: float) -> None:
    children = list(children)
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + timeout_s
    for child in children:
        child.stop(max(0.0, deadline - time.monotonic()))


def _in_parallel(calls: Iterable[Callable[[], object]]) -> None:
    for future in [in_background(call) for call in calls]:
        future.result()


def in_background(call: Callable[[], ResultT]) -> "Future[ResultT]":
    """Run a call on a thread of its own that does not keep the process alive."""
    future: Future[ResultT] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 (raised again where the result is asked for)
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
