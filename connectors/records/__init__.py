"""Canonical records read in machine code, by whoever reads them by the thousand."""
