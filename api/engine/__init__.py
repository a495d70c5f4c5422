"""The fast search index: one 64-bit word a stone, rows clustered by lab-grown, shape and carat, kernels in numba."""
