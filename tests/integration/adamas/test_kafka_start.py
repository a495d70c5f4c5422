"""A recorded start is written whole, and used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adamas.embedded import kafka as embedded
from adamas.embedded.kafka import EmbeddedKafka
from adamas.embedded.kafka_start import record
from adamas.ports import free_ports


@contextmanager
def broker(folder: Path) -> Iterator[EmbeddedKafka]:
    """A broker that has answered."""
    port, controller_port = free_ports(2)
    kafka = EmbeddedKafka(folder, port, controller_port)
    kafka.prepare()
    kafka.launch()
    try:
        kafka.wait_ready()
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's brokers look for a record."""
    path = tmp_path / "start.aot"
    monkeypatch.setattr(embedded, "recorded_start", lambda java: path)
    return path


def test_a_recorded_start_is_what_the_next_broker_starts_from(tmp_path: Path, recorded: Path) -> None:
    record(recorded, tmp_path / "recording")
    assert recorded.stat().st_size > 2**20
    assert [path.name for path in tmp_path.iterdir()] == [recorded.name], "nothing else is left"
    with broker(tmp_path / "kafka") as kafka:
        # A class that Java found there was not read from a jar.
        assert str(recorded) in Path(f"/proc/{kafka.child.pid}/maps").read_text()


def test_a_record_that_is_broken_keeps_no_broker_from_starting(tmp_path: Path, recorded: Path) -> None:
    recorded.write_bytes(b"no record at all")
    with broker(tmp_path / "kafka") as kafka:
        kafka.child.check()
