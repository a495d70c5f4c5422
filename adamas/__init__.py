"""The `adamas` command, and `adamas up`: the whole platform on one machine, its Kafka and its Postgres too."""
