"""Telling people: a notice of an event, and the channels that carry it."""
