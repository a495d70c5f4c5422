"""How well a stone is made, as one number: 0 to 100, from its grades alone.

The points are ours. They order stones of one shape and weight the way the trade does: cut first, then polish,
symmetry and fluorescence, clarity and color, and what a shopper can check (a report, an image, a video). A stone whose
grade is unknown gets nothing for it; where a shape has no cut grade, polish and symmetry count for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.grades import CLARITIES, COLORS, FLUORESCENCES, QUALITIES

_TOP_LABS: Final = MappingProxyType({"GIA": 6, "AGS": 6, "HRD": 4, "IGI": 4, "GCAL": 4})


def _falling(grades: tuple[str, ...], most: int, step: float) -> Mapping[str, int]:
    return MappingProxyType({grade: max(0, round(most - step * place)) for place, grade in enumerate(grades)})


_CUT: Final = _falling(QUALITIES, 34, 5.0)
_FINISH: Final = _falling(QUALITIES, 11, 1.5)
_CLARITY: Final = _falling(CLARITIES, 14, 1.3)
_COLOR: Final = _falling(COLORS[:-1], 14, 0.9)
_FLUORESCENCE: Final = _falling(FLUORESCENCES, 6, 1.0)


def rating(
    cut: str | None,
    polish: str | None,
    symmetry: str | None,
    fluorescence: str | None,
    color: str | None,
    clarity: str | None,
    lab: str | None,
    *,
    has_image: bool,
    has_video: bool,
) -> int:
    """The rating, 0 to 100. Grades are spelled as in `schemas.grades`; others count as unknown."""
    finish = _FINISH.get(polish or "", 0) + _FINISH.get(symmetry or "", 0)
    made = _CUT.get(cut or "", 0) if cut is not None else round(finish * 1.4)
    looks = _CLARITY.get(clarity or "", 0) + (14 if color == "FANCY" else _COLOR.get(color or "", 0))
    shown = _TOP_LABS.get(lab or "", 0) + 2 * has_image + 2 * has_video
    return made + finish + looks + _FLUORESCENCE.get(fluorescence or "", 0) + shown
