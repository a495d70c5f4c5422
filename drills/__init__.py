"""One file a fault: provoke it against real servers and say whether the promise held.

Beside them what drills and benches stand on: `stage` (real processes), `stock`, `searches`, `report`.
"""
