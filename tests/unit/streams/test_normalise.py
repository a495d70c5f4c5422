"""Each dirty pattern the vendor is known for, and the form of the table itself."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.feeds.nivoda import vocabulary
from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.nivoda.mapping import MAPPER_VERSION, MAPPING, MAX_COMMENT
from connectors.feeds.table import word
from schemas import grades
from schemas.errors import Invalid
from schemas.feeds import FEEDS
from schemas.stone import Availability, Content
from schemas.vendor import Item
from streams.normalise import Normaliser, check_total, is_plain
from streams.pages import PageReader
from tests.unit.streams.items import item, page

NATURAL = FEEDS["nivoda-natural"]
LAB_GROWN = FEEDS["nivoda-labgrown"]


@pytest.fixture
def normaliser() -> Normaliser:
    return Normaliser(MAPPING, MAPPER_VERSION, NATURAL, NIVODA_FORM)


def content_of(normaliser: Normaliser, made: dict[str, Any]) -> Content:
    decoded = PageReader(NIVODA_FORM).decode(page(made))[0]
    if isinstance(decoded, Invalid):
        raise decoded
    return normaliser.content(decoded)


CERTIFICATE = "diamond__certificate__"

UNDERSTOOD = [
    # path, the vendor's value, field, ours
    ("diamond__eyeClean", None, "eye_clean", None),
    ("diamond__eyeClean", "90%", "eye_clean", "90%"),
    ("diamond__eyeClean", "80 %", "eye_clean", "80%"),
    ("diamond__eyeClean", "100%", "eye_clean", "100%"),
    ("diamond__eyeClean", "Yes", "eye_clean", "yes"),
    ("diamond__eyeClean", "No", "eye_clean", "no"),
    ("diamond__eyeClean", "Borderline", "eye_clean", "borderline"),
    ("diamond__milky", "No", "milky", "none"),
    ("diamond__milky", None, "milky", None),
    ("diamond__milky", "Light Milky", "milky", "light milky"),
    ("diamond__brown", "NONE", "brown", "none"),
    ("diamond__green", "Faint", "green", "faint"),
    ("diamond__other", "Mixed tinge", "other_tinge", "mixed tinge"),
    (CERTIFICATE + "girdle", "null", "girdle", None),
    (CERTIFICATE + "girdle", "STK-THK", "girdle", "STK-THK"),
    (CERTIFICATE + "girdle", " Medium - Very Thick ", "girdle", "Medium - Very Thick"),
    (CERTIFICATE + "length", "0", "length_mm", None),
    (CERTIFICATE + "width", "0.000000", "width_mm", None),
    (CERTIFICATE + "depth", 0, "depth_mm", None),
    (CERTIFICATE + "depthPercentage", "0", "depth_percent", None),
    (CERTIFICATE + "table", "0", "table_percent", None),
    (CERTIFICATE + "table", "57.500000", "table_percent", 57.5),
    (CERTIFICATE + "table", 57, "table_percent", 57.0),
    (CERTIFICATE + "length", 7.21, "length_mm", 7.21),
    (CERTIFICATE + "cut", None, "cut", None),
    (CERTIFICATE + "cut", "ex", "cut", "EX"),
    (CERTIFICATE + "cut", "EIGHTX", "cut", "8X"),
    (CERTIFICATE + "polish", "GD", "polish", "G"),
    (CERTIFICATE + "polish", "FR", "polish", "F"),
    (CERTIFICATE + "polish", "F", "polish", "F"),
    (CERTIFICATE + "symmetry", "PR", "symmetry", "P"),
    (CERTIFICATE + "symmetry", "P", "symmetry", "P"),
    (CERTIFICATE + "floInt", "STG", "fluorescence", "STRONG"),
    (CERTIFICATE + "floInt", "STN", "fluorescence", "STRONG"),
    (CERTIFICATE + "floInt", "VSL", "fluorescence", "VERY_SLIGHT"),
    (CERTIFICATE + "floInt", "NON", "fluorescence", "NONE"),
    (CERTIFICATE + "floCol", "B", "fluorescence_color", "BLUE"),
    (CERTIFICATE + "floCol", "Blue", "fluorescence_color", "BLUE"),
    (CERTIFICATE + "labgrown", None, "lab_grown", False),
    (CERTIFICATE + "labgrown", True, "lab_grown", False),
    (CERTIFICATE + "labgrown_type", "CVD", "lab_grown_type", "CVD"),
    (CERTIFICATE + "color", "NO", "color", "N-O"),
    (CERTIFICATE + "color", "SZ", "color", "S-Z"),
    (CERTIFICATE + "color", None, "color", None),
    (CERTIFICATE + "color", "FANCY", "fancy_color", None),
    (CERTIFICATE + "f_color", "Yellow", "fancy_color", "YELLOW"),
    (CERTIFICATE + "f_color", "GREY", "fancy_color", "GRAY"),
    (CERTIFICATE + "f_color", "EVEN", "fancy_color", None),
    (CERTIFICATE + "f_color", "U-V", "fancy_color", None),
    (CERTIFICATE + "f_color", "BROWN-PINK", "fancy_color", "PINK BROWN"),
    (CERTIFICATE + "f_color", "PINK BROWN", "fancy_color", "PINK BROWN"),
    (CERTIFICATE + "f_color", "brown orange", "fancy_color", "ORANGE BROWN"),
    (CERTIFICATE + "f_color", "Purple Pink", "fancy_color", "PURPLE PINK"),
    (CERTIFICATE + "f_color", "PINK PURPLE", "fancy_color", "PURPLE PINK"),
    (CERTIFICATE + "f_color", "GREEN YELLOW", "fancy_color", "GREEN YELLOW"),
    (CERTIFICATE + "f_color", "YELLOW GREEN", "fancy_color", "YELLOW GREEN"),
    (CERTIFICATE + "f_color", "ORANGE YELLOW", "fancy_color", "ORANGE YELLOW"),
    (CERTIFICATE + "f_color", "YELLOW ORANGE", "fancy_color", "YELLOW ORANGE"),
    (CERTIFICATE + "f_color", "ORANGY BROWN", "fancy_color", "ORANGY BROWN"),
    (CERTIFICATE + "f_color", "GRAY BLUE", "fancy_color", "GRAY BLUE"),
    (CERTIFICATE + "f_color", "BI_COLOR", "fancy_color", "BI_COLOR"),
    (CERTIFICATE + "f_intensity", "FANCY VIVID", "fancy_intensity", "FANCY_VIVID"),
    (CERTIFICATE + "f_intensity", "Fancy-Vivid", "fancy_intensity", "FANCY_VIVID"),
    (CERTIFICATE + "f_intensity", "fancy_vivid", "fancy_intensity", "FANCY_VIVID"),
    (CERTIFICATE + "f_overtone", "Brownish", "fancy_overtone", "BROWNISH"),
    (CERTIFICATE + "f_overtone", "EVEN", "fancy_overtone", None),
    (CERTIFICATE + "shape", "ASCHER", "shape", "ASSCHER"),
    (CERTIFICATE + "shape", "HALF MOON", "shape", "HALFMOON"),
    (CERTIFICATE + "shape", "TRAPEZE", "shape", "TRAPEZOID"),
    (CERTIFICATE + "shape", "CUSHION B", "shape", "CUSHION BRILLIANT"),
    (CERTIFICATE + "shape", "CUSHION MODIFIED", "shape", "CUSHION MODIFIED"),
    (CERTIFICATE + "shape", "round", "shape", "ROUND"),
    (CERTIFICATE + "lab", "NONE", "lab", None),
    (CERTIFICATE + "lab", "STOCKID", "lab", None),
    (CERTIFICATE + "certNumber", "LG612345678", "certificate_number", "LG612345678"),
    (CERTIFICATE + "certNumber", "77", "certificate_number", "77"),
    (CERTIFICATE + "comments", "Two\nlines\tof it", "comments", "Two lines of it"),
    (CERTIFICATE + "comments", "  ", "comments", None),
    (CERTIFICATE + "treated", "No", "treated", False),
    ("diamond__availability", "AVAILABLE", "availability", Availability.AVAILABLE),
    ("diamond__availability", "available", "availability", Availability.AVAILABLE),
    ("diamond__availability", "NOT_AVAILABLE", "availability", Availability.UNAVAILABLE),
    ("diamond__availability", "Not_Available", "availability", Availability.UNAVAILABLE),
    ("diamond__availability", "HOLD", "availability", Availability.ON_HOLD),
    ("diamond__availability", "ON_HOLD", "availability", Availability.ON_HOLD),
    ("diamond__availability", "ON_MEMO", "availability", Availability.UNAVAILABLE),
    ("diamond__availability", "CONSIGNMENT", "availability", Availability.UNAVAILABLE),
    ("diamond__availability", "SOLD_OUT", "availability", Availability.UNAVAILABLE),
    ("diamond__availability", None, "availability", Availability.UNAVAILABLE),
    ("diamond__supplier", None, "supplier_name", None),
    ("diamond__delivery_time", None, "delivery_days_max", None),
    ("diamond__return_window", "7", "return_window_days", 7),
    ("diamond__mine_of_origin", "COLUMBIA", "origin", "COLOMBIA"),
    ("diamond__mine_of_origin", "SOUTH_AFRICA", "origin", "SOUTH_AFRICA"),
    ("diamond__mine_of_origin", "UNKNOWN", "origin", None),
    ("discount", None, "list_discount_bps", None),
    ("price", 1, "cost_cents", 1),
]


@pytest.mark.parametrize(("path", "theirs", "field", "ours"), UNDERSTOOD)
def test_what_the_vendor_is_known_to_send(
    normaliser: Normaliser, path: str, theirs: object, field: str, ours: object
) -> None:
    content = content_of(normaliser, item(**{path: theirs}))
    assert getattr(content, field) == ours
    assert normaliser.unknown.totals() == {}


UNKNOWN_BUT_UNIMPORTANT = [
    ("diamond__eyeClean", "mostly", "eye_clean", None),
    ("diamond__eyeClean", "120%", "eye_clean", None),
    ("diamond__availability", "RESERVED", "availability", Availability.UNAVAILABLE),
    (CERTIFICATE + "clarity", "VVS9", "clarity", None),
    (CERTIFICATE + "cut", "SUPERB", "cut", None),
    (CERTIFICATE + "floInt", "VERY BRIGHT", "fluorescence", None),
    (CERTIFICATE + "f_color", "SUNSET", "fancy_color", None),
    (CERTIFICATE + "length", "seven", "length_mm", None),
    (CERTIFICATE + "length", "-7", "length_mm", None),
    (CERTIFICATE + "table", "NaN", "table_percent", None),
    (CERTIFICATE + "pdfUrl", "javascript:alert(1)", "certificate_url", None),
    (CERTIFICATE + "culetSize", "pointed", "culet", "POINTED"),
    ("diamond__return_window", "a week", "return_window_days", None),
]


@pytest.mark.parametrize(("path", "theirs", "field", "ours"), UNKNOWN_BUT_UNIMPORTANT)
def test_unknown_values_of_unimportant_fields_are_counted_each_time(
    normaliser: Normaliser, path: str, theirs: object, field: str, ours: object
) -> None:
    for _ in range(2):
        assert getattr(content_of(normaliser, item(**{path: theirs})), field) == ours
    assert normaliser.unknown.by_field == {field: {str(theirs): 2}}


REFUSED = [
    ("diamond__certificate", None, "diamond.certificate", "null_certificate"),
    (CERTIFICATE + "shape", "BLOB", "diamond.certificate.shape", "unknown_shape"),
    (CERTIFICATE + "shape", None, "diamond.certificate.shape", "null_shape"),
    (CERTIFICATE + "color", "ULTRA", "diamond.certificate.color", "unknown_color"),
    (CERTIFICATE + "carats", None, "diamond.certificate.carats", "null_carat"),
    (CERTIFICATE + "carats", 0, "diamond.certificate.carats", "null_carat"),
    (CERTIFICATE + "carats", -1.5, "diamond.certificate.carats", "unknown_carat"),
    (CERTIFICATE + "carats", 0.0001, "diamond.certificate.carats", "unknown_carat"),
    (CERTIFICATE + "carats", 1500, "diamond.certificate.carats", "unknown_carat"),
    ("price", None, "price", "null_cost_cents"),
    ("price", 0, "price", "unknown_cost_cents"),
    ("price", -5, "price", "unknown_cost_cents"),
    ("price", 10**30, "price", "unknown_cost_cents"),
    ("price", 12.5, "price", "wrong_type"),
    ("price", "439025", "price", "wrong_type"),
    ("id", "", "id", "null_offer_id"),
    ("diamond__id", " ", "diamond.id", "null_id"),
    ("diamond__id", None, "diamond.id", "wrong_type"),
    (CERTIFICATE + "color", 7, "diamond.certificate.color", "wrong_type"),
    (CERTIFICATE + "carats", True, "diamond.certificate.carats", "wrong_type"),
    (CERTIFICATE + "comments", "x" * (MAX_COMMENT + 1), "diamond.certificate.comments", "too_long"),
    (CERTIFICATE + "comments", "x" * 2_000_000, "diamond.certificate.comments", "too_long"),
    (CERTIFICATE + "comments", "bell\x07 and \x00", "diamond.certificate.comments", "control_character"),
    ("diamond__supplier", "Cutters", "diamond.supplier", "wrong_type"),
]


@pytest.mark.parametrize(("path", "theirs", "place", "code"), REFUSED)
def test_what_cannot_be_understood_names_field_and_rule(
    normaliser: Normaliser, path: str, theirs: object, place: str, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        content_of(normaliser, item(**{path: theirs}))
    assert (caught.value.field, caught.value.code) == (place, code)
    assert caught.value.rule


def test_a_number_that_json_has_no_room_for_is_one_bad_item(normaliser: Normaliser) -> None:
    body = page(item(1), item(2)).replace(b'"carats": 1.5', b'"carats": 1e999', 1)
    first, second = PageReader(NIVODA_FORM).decode(body)
    assert isinstance(first, Invalid)
    assert not isinstance(second, Invalid)


def test_media_fall_back_in_the_order_of_the_reference(normaliser: Normaliser) -> None:
    certificate_image = "https://images.example/certificate.jpg"
    spin, supplier = "https://v360.example/1", "https://supplier.example/1.mp4"
    bare = item(diamond__image=None, diamond__video=None, diamond__supplier_video_link=supplier)
    assert content_of(normaliser, bare).image_url is None
    assert content_of(normaliser, bare).video_url == supplier
    bare["diamond"]["certificate"]["v360"] = {"url": spin}
    bare["diamond"]["certificate"]["image"] = certificate_image
    bare["diamond"]["video"] = "null"
    assert content_of(normaliser, bare).image_url == certificate_image
    assert content_of(normaliser, bare).video_url == spin


def test_the_feed_decides_what_is_lab_grown() -> None:
    lab_grown = Normaliser(MAPPING, MAPPER_VERSION, LAB_GROWN, NIVODA_FORM)
    content = content_of(lab_grown, item(diamond__certificate__labgrown=None))
    assert content.lab_grown is True
    assert content.id == f"nivoda-labgrown:{item()['diamond']['id']}"
    assert content.feed == "nivoda-labgrown"


def test_the_fast_way_for_plain_pages_gives_the_same(normaliser: Normaliser) -> None:
    odd = item(diamond__certificate__comments="Naïve — “quoted”", diamond__supplier={"id": "1", "name": "Ål"})
    for made in (item(), item(diamond__image=None), item(diamond__certificate__girdle="null")):
        decoded = PageReader(NIVODA_FORM).decode(page(made))[0]
        assert isinstance(decoded, Item)
        assert is_plain(page(made))
        assert normaliser.content(decoded) == normaliser.content_of_plain(decoded)
    assert not is_plain(page(odd))
    assert not is_plain(page(item(diamond__certificate__comments="a\nb")))
    assert content_of(normaliser, odd).comments == "Naïve — “quoted”"


def test_every_field_has_exactly_one_row() -> None:
    check_total(MAPPING)
    with pytest.raises(TypeError, match="carat"):
        check_total(tuple(row for row in MAPPING if row.field != "carat"))
    with pytest.raises(TypeError, match="carat"):
        check_total((*MAPPING, *(row for row in MAPPING if row.field == "carat")))


def test_vocabularies_write_only_the_trades_grades() -> None:
    assert set(filter(None, vocabulary.COLOR_GRADES.values())) == set(grades.COLORS)
    assert set(filter(None, vocabulary.QUALITY_GRADES.values())) == set(grades.QUALITIES)
    assert set(filter(None, vocabulary.FLUORESCENCE_GRADES.values())) == set(grades.FLUORESCENCES)
    assert set(filter(None, vocabulary.INTENSITIES.values())) == set(grades.FANCY_INTENSITIES)


def test_all_fifty_shapes_are_known() -> None:
    assert len(vocabulary.SHAPES) == 50
    assert all(word(spelling) == spelling for spelling in vocabulary.SHAPES)


def test_unknown_values_cannot_fill_the_memory(normaliser: Normaliser) -> None:
    for number in range(200):
        content_of(normaliser, item(diamond__eyeClean=f"odd {number}"))
    counted = normaliser.unknown.by_field["eye_clean"]
    assert len(counted) <= 51
    assert counted.total() == 200
