"""Ingest: reads the vendors' feeds within the one budget and appends what they say to the raw log."""
