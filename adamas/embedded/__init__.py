"""Kafka and Postgres themselves, started from packages alone, for `adamas up` and the tests."""
