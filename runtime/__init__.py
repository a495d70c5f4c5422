"""The shell around the streams: settings, logs, Kafka clients, health, embedded servers and the `adamas` command."""
