"""Words such as `2ct oval E VS1 under 5k` as the parameters they stand for. Pure.

A text is cut into words; from the left, the longest phrase that is known is taken. What became of each is told to the
shopper, with the words that mean nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.fields import FIELDS, SHAPES
from api.vocabulary import ALIASES, ValuesOf, fold
from schemas.grades import CLARITIES, COLORS, FANCY_INTENSITIES, FLUORESCENCES

Exists = Callable[[str, str], bool]
"""Whether a stone has this attribute beginning with this text."""

ABOUT: Final = 0.05
"""`2ct` means this share more or less."""

_NUMBER: Final = r"\$?\d[\d,]*(?:\.\d+)?k?"
_TOKEN: Final = re.compile(
    rf"(?P<span>{_NUMBER}\s*(?:-|–|to)\s*{_NUMBER})(?=\s|ct|carat|$)|[^\s]+", re.IGNORECASE
)
_AMOUNT: Final = re.compile(r"\$?(\d[\d,]*(?:\.\d+)?)(k?)\$?", re.IGNORECASE)
_WEIGHT: Final = re.compile(r"(\d+(?:\.\d+)?)(?:ct|cts|carat|carats)\+?", re.IGNORECASE)
_GRADE_SPAN: Final = re.compile(r"([a-z]+\d?)(?:-|–)([a-z]+\d?)", re.IGNORECASE)
_REPORT: Final = re.compile(r"(?=[A-Za-z0-9-]*\d)[A-Za-z0-9-]{5,30}")
_UNITS: Final = frozenset({"CT", "CTS", "CARAT", "CARATS"})
_BELOW: Final = frozenset({"UNDER", "BELOW", "MAX", "<", "<=", "UPTO"})
_ABOVE: Final = frozenset({"OVER", "ABOVE", "FROM", "MIN", ">", ">="})
_FILLER: Final = frozenset(
    [
        "A",
        "AN",
        "AND",
        "WITH",
        "IN",
        "OF",
        "THE",
        "DIAMOND",
        "DIAMONDS",
        "STONE",
        "STONES",
        "SHAPE",
        "SHAPED",
        "COLOR",
        "COLOUR",
        "CLARITY",
        "PRICE",
        "PRICED",
        "FOR",
        "CERTIFIED",
        "USD",
        "$",
        "BETWEEN",
        "CUT",
    ]
)

_SHAPE_WORDS: Final = {
    **{fold(shape): shape for shape in SHAPES},
    **{
        "BRILLIANT": "ROUND",
        "ROUND BRILLIANT": "ROUND",
        "RB": "ROUND",
        "TRILLION": "TRILLIANT",
        "TRIANGLE": "TRILLIANT",
    },
    **{"SQUARE CUT": "PRINCESS", "EMERALD CUT": "EMERALD", "PEAR SHAPED": "PEAR", "TEARDROP": "PEAR"},
    **{"OLD MINE": "OLD MINER", "ROSE CUT": "ROSE", "HEXAGON": "HEXAGONAL", "HEART SHAPED": "HEART"},
}
_PHRASES: Final[Mapping[str, Mapping[str, str]]] = {
    **{words: {"shape": shape} for words, shape in _SHAPE_WORDS.items()},
    **{
        words: {"lab_grown": "true"}
        for words in ("LAB", "LAB GROWN", "LABGROWN", "LAB CREATED", "LAB DIAMOND", "LGD")
    },
    **{words: {"lab_grown": "false"} for words in ("NATURAL", "MINED", "EARTH MINED", "NOT LAB GROWN")},
    **{kind: {"lab_grown": "true", "lab_grown_type": kind} for kind in ("CVD", "HPHT")},
    **{lab: {"lab": lab} for lab in ("GIA", "IGI", "HRD", "GCAL", "AGS")},
    **{
        f"{fold(name)} {word}": {"fluorescence": name}
        for name in FLUORESCENCES
        for word in ("FLUORESCENCE", "FLUOR", "FLUO")
    },
    **{f"NO {word}": {"fluorescence": "NONE"} for word in ("FLUORESCENCE", "FLUOR", "FLUO")},
    **{words: {"cut": "8X,ID,EX"} for words in ("EXCELLENT", "EXCELLENT CUT", "EX", "EX CUT")},
    **{words: {"cut": "8X,ID"} for words in ("IDEAL", "IDEAL CUT", "SUPER IDEAL")},
    **{words: {"cut": "8X,ID,EX,VG"} for words in ("VERY GOOD", "VERY GOOD CUT", "VG", "VG CUT")},
    **{
        words: dict.fromkeys(("cut", "polish", "symmetry"), "8X,ID,EX")
        for words in ("TRIPLE EX", "TRIPLE EXCELLENT", "3EX", "3X", "XXX", "3 EX")
    },
    **{clarity: {"clarity": clarity} for clarity in CLARITIES},
    **{fold(words): {"clarity": clarity} for words, clarity in ALIASES["clarity"].items()},
    **{
        group: {"clarity": ",".join(grade for grade in CLARITIES if grade.rstrip("123") == group)}
        for group in ("VVS", "VS", "SI")
    },
    **{color: {"color": color} for color in COLORS if len(color) == 1},
    "COLORLESS": {"color": "D,E,F"},
    "NEAR COLORLESS": {"color": "G,H,I,J"},
    "EYE CLEAN": {"eye_clean": "yes,100%"},
    "WITH VIDEO": {"has_video": "true"},
    "VIDEO": {"has_video": "true"},
    "WITH IMAGE": {"has_image": "true"},
    "IMAGE": {"has_image": "true"},
    "FANCY": {"color": "FANCY"},
}
_LONGEST: Final = 4
_FANCY_WORDS: Final = {
    **{fold(name): name for name in FANCY_INTENSITIES if name.startswith("FANCY_")},
    **{fold(name).removeprefix("FANCY "): name for name in FANCY_INTENSITIES if name.startswith("FANCY_")},
}
_BETTER: Final = {"clarity": CLARITIES, "color": COLORS}


@dataclass(slots=True)
class Understood:
    """What a text became.

    Attributes:
        filters: parameter to text, as a caller would have written them.
        rest: words that mean nothing here.
    """

    filters: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)

    def add(self, filters: Mapping[str, str]) -> None:
        """Take over filters; further values of a list are added to those there are."""
        for name, text in filters.items():
            held = self.filters.get(name)
            listed = (
                held is not None and not name.endswith(("_min", "_max")) and text not in ("true", "false")
            )
            self.filters[name] = ",".join(dict.fromkeys(f"{held},{text}".split(","))) if listed else text


def understand(text: str, values_of: ValuesOf, exists: Exists, numbers: Sequence[str] = ()) -> Understood:
    """Read free text.

    Args:
        text: what a shopper wrote.
        values_of: the values that stones have.
        exists: whether a stone has an attribute that begins with a text.
        numbers: attributes that a number or code may be the beginning of, the likeliest first.
    """
    words = [match.group().strip(".,;:()") for match in _TOKEN.finditer(text)]
    words = [word for word in words if word]
    phrases = _phrases(values_of)
    understood, place = Understood(), 0
    while place < len(words):
        taken = (
            _phrase(words, place, phrases, understood)
            or _amounts(words, place, understood)
            or _number(words[place], exists, numbers, understood)
        )
        if not taken and fold(words[place]) not in _FILLER:
            understood.rest.append(words[place])
        place += taken or 1
    for name in ("carat", "price_cents"):
        low, high = (understood.filters.get(f"{name}_{end}") for end in ("min", "max"))
        if low is not None and high is not None and float(low) > float(high):
            # "over 5k under 2k": whoever says both means what lies between.
            understood.filters |= {f"{name}_min": high, f"{name}_max": low}
    return understood


def _phrases(values_of: ValuesOf) -> Mapping[str, Mapping[str, str]]:
    rare = {fold(shape): {"shape": shape} for shape in values_of("shape")}
    hues = {fold(hue): {"fancy_color": hue} for hue in values_of("fancy_color")}
    return {**rare, **hues, **_PHRASES}


def _phrase(
    words: Sequence[str], place: int, phrases: Mapping[str, Mapping[str, str]], understood: Understood
) -> int:
    first = _fancy(words, place, understood) or _grade_span(words, place, understood)
    if first:
        return first
    for length in range(min(_LONGEST, len(words) - place), 0, -1):
        spelled = fold(" ".join(words[place : place + length]))
        better = spelled.endswith("+")
        found = phrases.get(spelled.removesuffix("+")) or phrases.get(_singular(spelled))
        if found is None:
            continue
        understood.add(_or_better(found) if better or _says_better(words, place + length) else found)
        return length + (2 if _says_better(words, place + length) else 0)
    return 0


def _singular(spelled: str) -> str:
    return spelled.removesuffix("S") if len(spelled) > 3 else spelled


def _says_better(words: Sequence[str], place: int) -> bool:
    return [fold(word) for word in words[place : place + 2]] in (
        ["OR", "BETTER"],
        ["AND", "BETTER"],
        ["AND", "UP"],
    )


def _or_better(found: Mapping[str, str]) -> dict[str, str]:
    filters = dict(found)
    for name, grades in _BETTER.items():
        if name in filters:
            worst = max(map(grades.index, filters[name].split(",")))
            filters[name] = ",".join(grades[: worst + 1])
    return filters


def _fancy(words: Sequence[str], place: int, understood: Understood) -> int:
    """`fancy vivid yellow`: the intensity; the hue is a phrase of its own."""
    pair = fold(" ".join(words[place : place + 2]))
    if pair in _FANCY_WORDS and pair.startswith("FANCY "):
        understood.add({"fancy_intensity": _FANCY_WORDS[pair]})
        return 2
    return 0


def _grade_span(words: Sequence[str], place: int, understood: Understood) -> int:
    """`D-F`, `VVS1-VS2`, `D to F`."""
    match, length = _GRADE_SPAN.fullmatch(words[place]), 1
    if match is None and place + 2 < len(words) and fold(words[place + 1]) == "TO":
        match, length = _GRADE_SPAN.fullmatch(f"{words[place]}-{words[place + 2]}"), 3
    if match is None:
        return 0
    first, last = match[1].upper(), match[2].upper()
    for name, grades in _BETTER.items():
        if first in grades and last in grades:
            low, high = sorted((grades.index(first), grades.index(last)))
            understood.add({name: ",".join(grades[low : high + 1])})
            return length
    return 0


def _amounts(words: Sequence[str], place: int, understood: Understood) -> int:
    word = words[place]
    if (weight := _WEIGHT.fullmatch(word)) is not None:
        return _weight(float(weight[1]), understood, at_least=word.endswith("+"))
    bound = fold(word).replace(" ", "")
    if fold(" ".join(words[place : place + 2])) in ("UP TO", "AT MOST", "LESS THAN"):
        return _bounded(words, place + 2, 2, "_max", understood)
    if fold(" ".join(words[place : place + 2])) in ("AT LEAST", "MORE THAN"):
        return _bounded(words, place + 2, 2, "_min", understood)
    if bound in _BELOW or bound in _ABOVE:
        return _bounded(words, place + 1, 1, "_max" if bound in _BELOW else "_min", understood)
    if word[0] in "<>" and _AMOUNT.fullmatch(word[1:]):
        return _bounded(
            [word[1:], *words[place + 1 :]], 0, 0, "_max" if word[0] == "<" else "_min", understood
        )
    return _span(words, place, understood) or _single(words, place, understood)


def _bounded(words: Sequence[str], place: int, before: int, end: str, understood: Understood) -> int:
    """`under 5k`, `over 2 carats`, `under 1ct`: how many words, or 0."""
    if place >= len(words):
        return 0
    if (weight := _WEIGHT.fullmatch(words[place])) is not None:
        understood.add({f"carat{end}": f"{float(weight[1]):g}"})
        return before + 1
    amount = _amount(words[place])
    if amount is None:
        return 0
    if _is_unit(words, place + 1):
        understood.add({f"carat{end}": f"{amount:g}"})
        return before + 2
    understood.add({f"price_cents{end}": str(round(amount * 100))})
    return before + 1


def _span(words: Sequence[str], place: int, understood: Understood) -> int:
    """`1-1.5ct`, `3k-5k`, `$3,000 to $5,000`: carats when it says so or could be nothing else."""
    parts = re.split(r"\s*(?:-|–|to)\s*", words[place], flags=re.IGNORECASE)
    if len(parts) != 2:
        return 0
    unit = _is_unit(words, place + 1)
    in_word = re.fullmatch(rf"({_NUMBER})(?:ct|cts|carats?)", parts[1], re.IGNORECASE)
    low, high = _amount(parts[0]), _amount(in_word[1] if in_word else parts[1])
    if low is None or high is None:
        return 0
    if parts[1].lower().endswith("k") and not parts[0].lower().endswith("k"):
        low *= 1000
    low, high = min(low, high), max(low, high)
    if unit or in_word or (high < 20 and "$" not in words[place]):
        understood.add({"carat_min": f"{low:g}", "carat_max": f"{high:g}"})
    else:
        understood.add({"price_cents_min": str(round(low * 100)), "price_cents_max": str(round(high * 100))})
    return 2 if unit else 1


def _single(words: Sequence[str], place: int, understood: Understood) -> int:
    """`2 carat`, `$5000`, `5k`, `1.5`."""
    amount = _amount(words[place])
    if amount is None:
        return 0
    if _is_unit(words, place + 1):
        _weight(amount, understood)
        return 2
    if "$" in words[place] or words[place].lower().endswith("k"):
        understood.add({"price_cents_max": str(round(amount * 100))})
        return 1
    if "." in words[place] and amount < 20:
        return _weight(amount, understood)
    return 0


def _weight(carat: float, understood: Understood, *, at_least: bool = False) -> int:
    if at_least:
        understood.add({"carat_min": f"{carat:g}"})
    else:
        low, high = round(carat * (1 - ABOUT), 2), round(carat * (1 + ABOUT), 2)
        understood.add({"carat_min": f"{low:g}", "carat_max": f"{high:g}"})
    return 1


def _number(word: str, exists: Exists, numbers: Iterable[str], understood: Understood) -> int:
    if not _REPORT.fullmatch(word):
        return 0
    for name in numbers:
        assert FIELDS[name].prefix
        if exists(name, word):
            understood.add({f"{name}_prefix": word})
            return 1
    return 0


def _amount(word: str) -> float | None:
    match = _AMOUNT.fullmatch(word)
    if match is None:
        return None
    return float(match[1].replace(",", "")) * (1000 if match[2] else 1)


def _is_unit(words: Sequence[str], place: int) -> bool:
    return place < len(words) and fold(words[place]) in _UNITS
