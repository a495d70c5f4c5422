"""What every process stands on: settings, logs, Kafka clients, health, traces, jobs, stopping."""
