"""The whole process: started, looked at, told to stop."""

import json
import os
import signal
import subprocess
import sys
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

from adamas.ports import free_ports
from runtime.kafka import ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import CANONICAL, DEAD, RECEIPTS


def test_it_gets_ready_and_stops_when_told(kafka_settings: KafkaSettings, database: str) -> None:
    ensure_topics(kafka_settings, [CANONICAL, DEAD, RECEIPTS])
    port = free_ports(1)[0]
    environment = os.environ | {
        "ADAMAS_KAFKA_BOOTSTRAP": kafka_settings.bootstrap,
        "ADAMAS_POSTGRES_DSN": database,
        "ADAMAS_HEALTH_PORT": str(port),
    }
    command = [sys.executable, "-m", "adamas.cli", "sink"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        body = wait_ready(f"http://127.0.0.1:{port}")
        assert body["checks"]["sink"]["detail"]["lag_records"] == 0
        with urlopen(f"http://127.0.0.1:{port}/metrics") as metrics:
            assert b"adamas_sink_rows_total" in metrics.read()
        process.send_signal(signal.SIGTERM)
        _, lines = process.communicate(timeout=60)
        assert process.returncode == 0, lines
    finally:
        process.kill()
        process.communicate()


def wait_ready(base: str) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    deadline = monotonic() + 60
    while True:
        assert monotonic() < deadline, "not ready in time"
        try:
            with urlopen(f"{base}/health/ready") as answer:
                body: dict[str, dict[str, dict[str, dict[str, int]]]] = json.load(answer)
                return body
        except URLError:
            sleep(0.1)
