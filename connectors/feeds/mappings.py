"""How each feed's items become stones: the form of its replies, its mapping table, and the table's version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connectors.feeds.demo import mapping as demo
from connectors.feeds.form import Form
from connectors.feeds.nivoda import mapping as nivoda
from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.table import Row
from schemas.feeds import DEMO, NIVODA_LABGROWN, NIVODA_NATURAL


@dataclass(frozen=True, slots=True)
class Mapping:
    """One vendor's."""

    form: Form
    table: tuple[Row, ...]
    version: int


_NIVODA: Final = Mapping(NIVODA_FORM, nivoda.MAPPING, nivoda.MAPPER_VERSION)

MAPPINGS: Final[dict[str, Mapping]] = {
    NIVODA_NATURAL: _NIVODA,
    NIVODA_LABGROWN: _NIVODA,
    DEMO: Mapping(demo.DEMO_FORM, demo.MAPPING, demo.MAPPER_VERSION),
}
"""By feed."""
