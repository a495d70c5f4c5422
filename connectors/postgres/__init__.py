"""Canonical stones into Postgres: rows, price history and feed positions."""
