"""The bounds of the 32-bit numbers that stand in the clusters."""

from typing import Final

LEAST: Final = -(2**31)
GREATEST: Final = 2**31 - 1
