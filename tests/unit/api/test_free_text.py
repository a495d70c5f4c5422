import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.free_text import Understood, understand
from api.parameters import read_parameters


def values_of(name: str) -> tuple[str, ...]:
    return {
        "shape": ("KITE",),
        "fancy_color": ("YELLOW", "GREEN YELLOW", "PINK"),
        "eye_clean": ("yes", "100%"),
    }.get(name, ())


def exists(name: str, beginning: str) -> bool:
    return (name, beginning) in {("certificate_number", "2942665548"), ("supplier_stock_number", "AB-1234")}


def read(text: str) -> Understood:
    return understand(text, values_of, exists, ("certificate_number", "supplier_stock_number"))


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        (
            "2ct oval E VS1 under 5k",
            {
                "carat_min": "1.9",
                "carat_max": "2.1",
                "shape": "OVAL",
                "color": "E",
                "clarity": "VS1",
                "price_cents_max": "500000",
            },
        ),
        ("round brilliant, 1 carat", {"shape": "ROUND", "carat_min": "0.95", "carat_max": "1.05"}),
        ("ovals and cushions", {"shape": "OVAL,CUSHION"}),
        ("Cushion Modified kite", {"shape": "CUSHION MODIFIED,KITE"}),
        ("emerald cut D-F", {"shape": "EMERALD", "color": "D,E,F"}),
        ("D to F VVS2+", {"color": "D,E,F", "clarity": "FL,IF,VVS1,VVS2"}),
        ("G or better", {"color": "D,E,F,G"}),
        ("VVS1-VS1", {"clarity": "VVS1,VVS2,VS1"}),
        ("VS internally flawless", {"clarity": "VS1,VS2,IF"}),
        ("lab grown pear GIA", {"lab_grown": "true", "shape": "PEAR", "lab": "GIA"}),
        (
            "natural triple ex",
            {"lab_grown": "false", **dict.fromkeys(("cut", "polish", "symmetry"), "8X,ID,EX")},
        ),
        ("cvd ideal cut", {"lab_grown": "true", "lab_grown_type": "CVD", "cut": "8X,ID"}),
        ("no fluorescence with video", {"fluorescence": "NONE", "has_video": "true"}),
        ("very slight fluor", {"fluorescence": "VERY_SLIGHT"}),
        ("fancy vivid green yellow", {"fancy_intensity": "FANCY_VIVID", "fancy_color": "GREEN YELLOW"}),
        ("fancy pink", {"color": "FANCY", "fancy_color": "PINK"}),
        ("$3,000 to $5,000", {"price_cents_min": "300000", "price_cents_max": "500000"}),
        ("3-5k", {"price_cents_min": "300000", "price_cents_max": "500000"}),
        ("between 2k-4k", {"price_cents_min": "200000", "price_cents_max": "400000"}),
        ("1-1.5ct", {"carat_min": "1", "carat_max": "1.5"}),
        ("1.00 - 1.50 carat", {"carat_min": "1", "carat_max": "1.5"}),
        ("over 2 carats below $10000", {"carat_min": "2", "price_cents_max": "1000000"}),
        ("2ct+", {"carat_min": "2"}),
        ("<5k", {"price_cents_max": "500000"}),
        ("up to 900", {"price_cents_max": "90000"}),
        ("eye clean", {"eye_clean": "yes,100%"}),
        ("2942665548", {"certificate_number_prefix": "2942665548"}),
        ("GIA 2942665548", {"lab": "GIA", "certificate_number_prefix": "2942665548"}),
        ("AB-1234", {"supplier_stock_number_prefix": "AB-1234"}),
        ("", {}),
    ],
)
def test_what_shoppers_write_is_understood(text: str, filters: dict[str, str]) -> None:
    understood = read(text)
    assert understood.filters == filters
    assert understood.rest == []


def test_words_that_mean_nothing_are_told() -> None:
    understood = read("sparkly oval 9999999999 zz")
    assert understood.filters == {"shape": "OVAL"}
    assert understood.rest == ["sparkly", "9999999999", "zz"]


WORDS = st.sampled_from(
    [
        "2ct",
        "oval",
        "E",
        "VS1",
        "under",
        "over",
        "5k",
        "-",
        "to",
        "$",
        "D-F",
        "1-1.5",
        "G+",
        "or",
        "better",
        "fancy",
        "vivid",
        "yellow",
        "up",
        "<5",
        "99999999",
        ",",
        ".5",
        "k",
        "ct",
    ]
)


@given(st.lists(WORDS, max_size=8).map(" ".join) | st.text(max_size=40))
def test_whatever_is_understood_is_a_search(text: str) -> None:
    understood = read(text)
    read_parameters(understood.filters, values_of).query()
