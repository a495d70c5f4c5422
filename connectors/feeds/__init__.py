"""Feeds: what the engine asks of any vendor (`protocol`) and each vendor's own way of answering it."""
