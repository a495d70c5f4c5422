"""`adamas up`: the whole platform on this machine, from an empty folder to the first searchable stone."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from shlex import quote
from typing import Final, NoReturn, TypeVar

import httpx

from adamas import data_folder, demo
from adamas.children import Child, ChildDied, launch
from adamas.embedded.kafka import EmbeddedKafka
from adamas.embedded.postgres import EmbeddedPostgres
from adamas.gauges import Gauges
from adamas.ports import is_free
from adamas.screen import Screen
from adamas.stack import Options, Ports, Stack, UpFailed, all_ports, simulator_member
from adamas.supervisor import Supervisor, in_background
from runtime.kafka import ensure_topics
from runtime.logs import configure_logs
from runtime.settings import KafkaSettings, LogSettings
from runtime.shutdown import Shutdown
from schemas.errors import AdamasError
from schemas.topics import TOPICS

STOP_GRACE_S: Final = 30.0
"""Only a safety net: members and servers have time-outs of their own, which add up to less than 15 s."""
READY_TIMEOUT_S: Final = 90.0
SLOW_S: Final = 6.0
FIRST_START: Final = ": the first start on a machine compiles the search, up to a minute"
LEFTOVERS_S: Final = 15.0
"""How long the processes of an `up` that was killed may take to stop; they notice its end by themselves."""
FULL_MIB: Final = 20
"""Kafka and Postgres write pieces of 16 MiB ahead, and fail while there still is a little."""
STATE: Final = "up.json"
ENV: Final = "env"
RECORDER_STOP_S: Final = 1.0
POLL_S: Final = 0.1
LINE_EVERY_S: Final = 1.0

ResultT = TypeVar("ResultT")


class Stopped(Exception):
    """Somebody asked to stop before everything was up."""


def run(options: Options) -> NoReturn:
    """Start everything, show how it goes, stop everything; exit code 0 after Ctrl-C, 1 after a failure."""
    configure_logs(LogSettings(level="WARNING"), "up")
    # What its clients try again by themselves while Kafka comes up is nothing to worry anybody with.
    logging.getLogger("librdkafka").setLevel(logging.ERROR)
    screen = Screen()
    code = _run(options, screen)
    sys.stdout.flush()
    # A download under way would be waited for; the children are stopped, and would not survive us anyway.
    os._exit(code)


def _run(options: Options, screen: Screen) -> int:
    try:
        options.check()
        with data_folder.owned(options.data) as was_killed, Shutdown(STOP_GRACE_S) as shutdown:
            return _run_stack(
                Up(options, screen, shutdown, LEFTOVERS_S if was_killed else 0), screen, options.data
            )
    except UpFailed as error:
        screen.say(str(error))
        return 1


def _run_stack(stack: "Up", screen: Screen, data: Path) -> int:
    """The failure is told before the stop, which takes its seconds."""
    try:
        stack.run()
    except Stopped:
        return 0
    except (AdamasError, OSError) as error:
        screen.close()
        screen.say(f"\n{explained(error, data)}\n")
        return 1
    return 0


def explained(error: Exception, folder: Path) -> str:
    """An error as a sentence that says what to do; whoever finds the disk full may have words of its own for it."""
    text = str(error)
    if "No space left" in text or data_folder.free_mib(folder) < FULL_MIB:
        return f"The disk of {folder} is full. Free some space (make clean forgets kept data) and try again.\n{text}"
    return f"{text}\nThe data is kept: make up goes on from there." if isinstance(error, ChildDied) else text


class Up:
    """One run of `adamas up`; `patience_s` is how long it waits for ports that a former run still holds."""

    def __init__(self, options: Options, screen: Screen, shutdown: Shutdown, patience_s: float = 0) -> None:
        self._patience_s = patience_s
        self._options = options
        self._screen = screen
        self._shutdown = shutdown
        self._ports = Ports(options.port_base)
        self._data = options.data.absolute()
        self._supervisor = Supervisor(self._data / "logs")
        self._recorder: Child | None = None
        self._kafka = EmbeddedKafka(self._data / "kafka", self._ports.kafka, self._ports.kafka_controller)
        self._postgres = EmbeddedPostgres(self._data / "postgres", self._ports.postgres)

    def run(self) -> None:
        """Go through all steps; returns when a stop is requested after everything was up."""
        self._shutdown.on_close(self._stop)
        self._forget_state()
        if self._options.fresh:
            data_folder.forget(self._data)
        self._check_ports()
        self._supervisor.start_member(simulator_member(self._options, self._ports))
        key, monitor_key = self._start_servers()
        stack = Stack(self._options, self._ports, self._kafka.bootstrap, self._postgres.dsn_of(demo.DATABASE))
        self._start_members(stack, monitor_key)
        self._write_state(stack, key)
        self._watch(stack, key)

    def _forget_state(self) -> None:
        for name in (STATE, ENV):
            (self._data / name).unlink(missing_ok=True)

    def _check_ports(self) -> None:
        deadline = time.monotonic() + self._patience_s
        while taken := _taken(self._options):
            if time.monotonic() >= deadline:
                raise UpFailed(
                    f"In use by another program: port {', '.join(taken)}. Stop it, or choose other ports:"
                    f" make up PORT_BASE={self._options.port_base + 100}."
                )
            self._pause(POLL_S)

    def _start_servers(self) -> tuple[str, str]:
        """Kafka and Postgres side by side, each filled as soon as it answers; returns the demo key and the monitor's."""
        postgres = in_background(self._postgres.prepare)
        kafka = in_background(self._prepare_kafka)
        self._await(postgres)
        self._supervisor.start_server("postgres", self._postgres)
        database = in_background(self._fill_postgres)
        self._await(kafka)
        self._supervisor.start_server("kafka", self._kafka)
        topics = in_background(self._fill_kafka)
        keys = self._await(database)
        self._await(topics)
        return keys

    def _prepare_kafka(self) -> None:
        with self._screen.step("Kafka's jars and data folder"):
            self._kafka.prepare(self._show_download)

    def _show_download(self, there: int, wanted: int) -> None:
        if there % 10 == 0 or there == wanted:
            self._screen.say(f"  downloading Kafka: {there} of {wanted} jars")

    def _fill_postgres(self) -> tuple[str, str]:
        with self._screen.step("Postgres"):
            self._postgres.wait_ready()
        with self._screen.step("database, schema and demo key"):
            demo.make_database(self._postgres.dsn)
            dsn = self._postgres.dsn_of(demo.DATABASE)
            return demo.key_of(dsn, self._data), demo.monitor_key_of(dsn, self._data)

    def _fill_kafka(self) -> None:
        with self._screen.step("Kafka"):
            self._kafka.wait_ready()
        with self._screen.step("topics"):
            ensure_topics(KafkaSettings(bootstrap=self._kafka.bootstrap), TOPICS)

    def _publish_first_rules(self) -> None:
        with self._screen.step("first rule set"):
            kafka = KafkaSettings(bootstrap=self._kafka.bootstrap)
            demo.publish_first_rules(self._postgres.dsn_of(demo.DATABASE), kafka)

    def _start_members(self, stack: Stack, monitor_key: str) -> None:
        """Readers first; while they load, the vendor and the rules they wait for come up."""
        *readers, ingest = stack.members()
        for member in readers:
            self._supervisor.start_member(member)
        rules = in_background(self._publish_first_rules)
        with self._screen.step("vendor simulator"):
            self._await_page(f"{_base(self._ports.simulator)}/_sim/stats", "simulator")
        self._supervisor.start_member(ingest)
        monitor = stack.monitor(monitor_key)
        self._supervisor.start_member(monitor)
        self._await(rules)
        for member in [*(member for member in readers if member.command == "api"), monitor]:
            with self._screen.step(member.name):
                self._await_page(f"{_base(member.port)}/health/ready", member.name, why_slow=FIRST_START)

    def _await(self, future: "Future[ResultT]") -> ResultT:
        while not future.done():
            self._pause(POLL_S)
        return future.result()

    def _await_page(self, url: str, name: str, *, why_slow: str = "") -> None:
        """Block until the page answers 200; once it takes long, say why it may."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _is_ok(url):
            if why_slow and time.monotonic() > deadline - READY_TIMEOUT_S + SLOW_S:
                self._screen.say(f"  {name} is still starting{why_slow}")
                why_slow = ""
            if time.monotonic() > deadline:
                log_file = self._data / "logs" / f"{name}.log"
                raise UpFailed(
                    f"{name} was not ready within {READY_TIMEOUT_S:g} s ({url}). Its log: {log_file}"
                )
            self._pause(POLL_S)

    def _pause(self, seconds: float) -> None:
        if self._shutdown.wait(seconds):
            raise Stopped
        self._supervisor.check()

    def _write_state(self, stack: Stack, key: str) -> None:
        """The contract other programs read; there only while the stack is up."""
        state = {
            "api": _base(self._ports.api(1)),
            "monitor": _base(self._ports.monitor),
            "simulator": _base(self._ports.simulator),
            "kafka": stack.kafka,
            "postgres": stack.postgres,
            "key": key,
            "pids": self._supervisor.pids(),
        }
        self._write(ENV, environment_file({**stack.environment(), "ADAMAS_DATA_DIR": str(self._data)}))
        self._write(STATE, json.dumps(state, indent=2) + "\n")

    def _write(self, name: str, text: str) -> None:
        # Renamed into place, so that nobody reads half of it; for its owner only, because of key and password.
        draft = self._data / f"{name}.draft"
        draft.touch(mode=0o600)
        draft.write_text(text)
        draft.replace(self._data / name)

    def _watch(self, stack: Stack, key: str) -> None:
        """Show figures until a stop is requested."""
        gauges = Gauges(stack.members())
        self._shutdown.on_close(gauges.close)
        announced = False
        while not self._shutdown.wait(LINE_EVERY_S if announced else LINE_EVERY_S / 4):
            self._supervisor.check()
            if not announced and (announced := _has_stones(self._ports.api(1), key)):
                self._announce(key)
                self._record_start()
            self._screen.show(gauges.read())

    def _record_start(self) -> None:
        """For the next start; whatever becomes of it, this stack goes on."""
        command = [sys.executable, "-m", "adamas.embedded.kafka_start", str(self._data / "kafka-start")]
        log_file = self._data / "logs" / "kafka-start.log"
        self._recorder = launch("kafka-start", command, log_file, stop_signal=signal.SIGKILL)

    def _announce(self, key: str) -> None:
        base = _base(self._ports.api(1))
        self._screen.say(
            f"\nThe first stones are searchable, {self._screen.elapsed_s:.1f} s after the start.\n"
            f"  API       {base}   (its pages: {base}/docs)\n"
            f"  board     {_base(self._ports.monitor)}\n"
            f"  demo key  {key}\n"
            f"  try       curl -H 'X-API-Key: {key}' \\\n"
            f"              '{base}/v1/diamonds?shape=ROUND&carat_min=1&sort=price_cents&limit=3'\n"
            f"  commands  . {quote(str(self._options.data / ENV))}; adamas runs list; adamas dead list\n"
            "Ctrl-C stops everything and keeps the data; make clean forgets it.\n"
        )

    def _stop(self) -> None:
        self._screen.close()
        self._forget_state()
        if self._recorder is not None:
            self._recorder.stop(RECORDER_STOP_S)
        if not self._supervisor.pids():
            return
        began = time.monotonic()
        self._screen.say("Stopping ...")
        self._supervisor.stop()
        self._screen.say(
            f"Everything has stopped ({time.monotonic() - began:.1f} s). Data and logs: {self._data}"
        )


def environment_file(variables: Mapping[str, str]) -> str:
    """What a shell reads (`. env`) to have the `adamas` command and have it ask this stack."""
    lines = [f"export {name}={quote(value)}" for name, value in variables.items()]
    return "\n".join([f'export PATH={quote(str(Path(sys.executable).parent))}:"$PATH"', *lines, ""])


def _taken(options: Options) -> list[str]:
    return [f"{port} ({who})" for who, port in all_ports(options).items() if not is_free(port)]


def _base(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _has_stones(port: int, key: str) -> bool:
    try:
        reply = httpx.get(
            f"{_base(port)}/v1/diamonds",
            params={"limit": 1},
            headers={"X-API-Key": key},
            timeout=2,
            trust_env=False,
        )
    except httpx.HTTPError:
        return False
    return reply.status_code == httpx.codes.OK and reply.json()["total"] > 0
