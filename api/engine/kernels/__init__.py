"""The loops of the fast index, compiled by numba. No kernel keeps anything: arrays come in, numbers and arrays go out.

Numba checks no bounds, so every index must be right by construction; a test runs them all with NUMBA_BOUNDSCHECK=1. Two
habits keep the loops fast: slice first and count from zero (a loop over `range(a, b)` keeps a check for negative indices
and stays scalar), and walk a mask by its set bytes, eight at a time.
"""
