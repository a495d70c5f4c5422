"""Runs: their states as the raw log tells them, their ledger, their retirement, and what operators may do to them."""
