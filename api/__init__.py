"""The HTTP service: searches answered from memory that the canonical topic feeds."""
