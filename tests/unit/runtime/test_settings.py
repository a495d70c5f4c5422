"""Settings are checked together, refuse placeholders and never show a secret."""

import pytest
from pydantic import SecretStr

from runtime.settings import (
    BadSettings,
    HealthSettings,
    KafkaSettings,
    PostgresSettings,
    Settings,
    VendorSettings,
    load_settings,
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for group in Settings.ALL:
        for field in group.model_fields:
            monkeypatch.delenv(group.variable(field), raising=False)


def test_every_bad_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_VENDOR_URL", "localhost:4000")
    monkeypatch.setenv("ADAMAS_VENDOR_USERNAME", "changeme")
    monkeypatch.setenv("ADAMAS_VENDOR_REQUESTS_PER_SECOND", "26")
    monkeypatch.setenv("ADAMAS_HEALTH_PORT", "70000")
    with pytest.raises(BadSettings) as caught:
        load_settings(KafkaSettings, VendorSettings, HealthSettings)
    named = {problem.split()[0].rstrip(":") for problem in caught.value.problems}
    assert named == {
        "ADAMAS_KAFKA_BOOTSTRAP",
        "ADAMAS_VENDOR_URL",
        "ADAMAS_VENDOR_USERNAME",
        "ADAMAS_VENDOR_PASSWORD",
        "ADAMAS_VENDOR_REQUESTS_PER_SECOND",
        "ADAMAS_HEALTH_PORT",
    }


@pytest.mark.parametrize("placeholder", ["changeme", "ChangeMe", "not-configured"])
def test_a_placeholder_is_refused_inside_a_secret_too(
    monkeypatch: pytest.MonkeyPatch, placeholder: str
) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", f"postgresql://adamas:{placeholder}@db/adamas")
    with pytest.raises(BadSettings, match="ADAMAS_POSTGRES_DSN: is still a placeholder") as caught:
        load_settings(PostgresSettings)
    assert placeholder not in str(caught.value)


def test_a_bad_secret_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", "mysql://adamas:hunter2@db/adamas")
    with pytest.raises(BadSettings) as caught:
        load_settings(PostgresSettings)
    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_KAFKA_BOOTSTRAP", "")
    with pytest.raises(BadSettings, match="ADAMAS_KAFKA_BOOTSTRAP is not set"):
        load_settings(KafkaSettings)


def test_shown_settings_mask_secrets() -> None:
    vendor = VendorSettings(url="http://vendor/graphql", username="shop", password=SecretStr("hunter2"))
    assert vendor.shown() == {
        "ADAMAS_VENDOR_URL": "http://vendor/graphql",
        "ADAMAS_VENDOR_USERNAME": "shop",
        "ADAMAS_VENDOR_PASSWORD": "********",
        "ADAMAS_VENDOR_REQUESTS_PER_SECOND": "25",
        "ADAMAS_VENDOR_MONEY_UNIT": "probe",
        "ADAMAS_VENDOR_MONEY_RANGES": "probe",
        "ADAMAS_VENDOR_OFFSET_CAP": "50000",
    }


def test_a_group_that_was_not_loaded_cannot_be_read() -> None:
    settings = Settings(KafkaSettings(bootstrap="127.0.0.1:9092"))
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    with pytest.raises(LookupError, match="VendorSettings"):
        _ = settings.vendor


def test_groups_are_replaced_not_changed() -> None:
    before = Settings(KafkaSettings(bootstrap="one:1"))
    after = before.with_groups(KafkaSettings(bootstrap="two:2"), HealthSettings(port=0))
    assert (before.kafka.bootstrap, after.kafka.bootstrap, after.health.port) == ("one:1", "two:2", 0)
