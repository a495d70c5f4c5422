"""What `adamas up` starts: its options, its ports and the environment of each process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import Fatal

MAX_REPLICAS: Final = 10
PORT_SPAN: Final = 40
"""Two stacks side by side need port bases at least this far apart."""

VENDOR_PATH: Final = "/api/diamonds"
VENDOR_USERNAME: Final = "demo@adamas.example"
VENDOR_PASSWORD: Final = "only-for-the-simulator"
GATEWAY_TOKEN: Final = "only-for-processes-of-this-machine"


class UpFailed(Fatal):
    """`adamas up` cannot start or go on; the message says in a sentence what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        stones: how many the simulated vendor has.
        seed: what its stock is made from.
        fresh: forget the kept data first.
        port_base: the API's port; every other port is counted up from it.
        api: how many API replicas.
        process: how many `process` workers.
        data: the folder for everything kept.
    """

    stones: int
    seed: int
    fresh: bool
    port_base: int
    api: int
    process: int
    data: Path

    def check(self) -> None:
        """Raise `UpFailed` for what cannot be, naming the `make` variable."""
        for name, value in (("API", self.api), ("PROCESS", self.process)):
            if not 1 <= value <= MAX_REPLICAS:
                raise UpFailed(f"{name} must be from 1 to {MAX_REPLICAS}, not {value}.")
        if not 1024 <= self.port_base <= 65535 - PORT_SPAN:
            raise UpFailed(f"PORT_BASE must be from 1024 to {65535 - PORT_SPAN}, not {self.port_base}.")
        if self.stones < 1:
            raise UpFailed(f"STONES must be at least 1, not {self.stones}.")


@dataclass(frozen=True)
class Ports:
    """Every port of a stack, counted up from one base; `base` is the first API replica's."""

    base: int

    def api(self, replica: int) -> int:
        """Port of an API replica, counted from 1."""
        return self.base + replica - 1

    @property
    def simulator(self) -> int:
        """The simulated vendor."""
        return self.base + 10

    @property
    def kafka(self) -> int:
        """Kafka, for clients."""
        return self.base + 11

    @property
    def kafka_controller(self) -> int:
        """Kafka, for itself."""
        return self.base + 12

    @property
    def postgres(self) -> int:
        """Postgres."""
        return self.base + 13

    @property
    def ingest(self) -> int:
        """Health and metrics of `ingest`."""
        return self.base + 14

    @property
    def sink(self) -> int:
        """Health and metrics of `sink`."""
        return self.base + 15

    @property
    def gateway(self) -> int:
        """The gateway of `ingest`."""
        return self.base + 17

    @property
    def monitor(self) -> int:
        """The board, and health and metrics of `monitor`."""
        return self.base + 16

    def process(self, replica: int) -> int:
        """Health and metrics of a `process` worker, counted from 1."""
        return self.base + 20 + replica - 1


@dataclass(frozen=True)
class Member:
    """One of our own processes: its name in `up.json`, its `adamas` command, where its metrics are, its environment."""

    name: str
    command: str
    port: int
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Stack:
    """All members of a stack and how they find each other."""

    options: Options
    ports: Ports
    kafka: str
    postgres: str

    @property
    def simulator(self) -> Member:
        """The simulated vendor; it needs neither Kafka nor Postgres and may start before them."""
        return simulator_member(self.options, self.ports)

    def members(self) -> Iterator[Member]:
        """Our processes in the order they start, readers before writers: nothing waits for a late reader."""
        for replica in range(1, self.options.api + 1):
            port = self.ports.api(replica)
            yield self._member("api", replica, port, {"ADAMAS_API_PORT": str(port)})
        yield self._member("sink", 1, self.ports.sink)
        for replica in range(1, self.options.process + 1):
            yield self._member("process", replica, self.ports.process(replica))
        yield self._member("ingest", 1, self.ports.ingest)

    def monitor(self, api_key: str) -> Member:
        """The process that watches the others; it asks the API's replicas under this key."""
        urls = {member.name: f"http://127.0.0.1:{member.port}" for member in self.members()}
        own = {
            "ADAMAS_MONITOR_PORT": str(self.ports.monitor),
            "ADAMAS_MONITOR_MEMBERS": ",".join(f"{name}={url}" for name, url in urls.items()),
            "ADAMAS_MONITOR_API_KEY": api_key,
        }
        return self._member("monitor", 1, self.ports.monitor, own)

    def _member(self, command: str, replica: int, port: int, own: Mapping[str, str] | None = None) -> Member:
        name = command if replica == 1 else f"{command}-{replica}"
        return Member(
            name, command, port, {**self.environment(), "ADAMAS_HEALTH_PORT": str(port), **(own or {})}
        )

    def environment(self) -> dict[str, str]:
        """What all members and every command against this stack share."""
        return {
            "ADAMAS_KAFKA_BOOTSTRAP": self.kafka,
            "ADAMAS_POSTGRES_DSN": self.postgres,
            "ADAMAS_VENDOR_URL": f"http://127.0.0.1:{self.ports.simulator}{VENDOR_PATH}",
            "ADAMAS_VENDOR_USERNAME": VENDOR_USERNAME,
            "ADAMAS_VENDOR_PASSWORD": VENDOR_PASSWORD,
            "ADAMAS_GATEWAY_URL": f"http://127.0.0.1:{self.ports.gateway}",
            "ADAMAS_GATEWAY_PORT": str(self.ports.gateway),
            "ADAMAS_GATEWAY_TOKEN": GATEWAY_TOKEN,
            "ADAMAS_DATA_DIR": str(self.options.data),
        }


def simulator_member(options: Options, ports: Ports) -> Member:
    """The simulated vendor of a stack."""
    environment = {
        "ADAMAS_SIM_PORT": str(ports.simulator),
        "ADAMAS_SIM_STONES": str(options.stones),
        "ADAMAS_SIM_SEED": str(options.seed),
        "ADAMAS_SIM_USERNAME": VENDOR_USERNAME,
        "ADAMAS_SIM_PASSWORD": VENDOR_PASSWORD,
    }
    return Member("simulator", "simulate", ports.simulator, environment)


def all_ports(options: Options) -> dict[str, int]:
    """Every port the stack will take, by who takes it."""
    ports = Ports(options.port_base)
    return {
        **{f"API {replica}": ports.api(replica) for replica in range(1, options.api + 1)},
        "vendor simulator": ports.simulator,
        "Kafka": ports.kafka,
        "Kafka's controller": ports.kafka_controller,
        "Postgres": ports.postgres,
        "ingest": ports.ingest,
        "the gateway of ingest": ports.gateway,
        "sink": ports.sink,
        "monitor": ports.monitor,
        **{f"process {replica}": ports.process(replica) for replica in range(1, options.process + 1)},
    }
