"""The compiled way from a page to contents gives what the mapping's own function gives, byte for byte, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drills.vendor_pages import page_bodies
from schemas.ruleset import PublishedRuleSet, RuleSet, Side
from streams.normalise import is_plain
from streams.outbox import Outbox
from streams.pricing.engine import PriceBook
from streams.records import content_of
from streams.terms import TermsOf
from streams.transcription import transcriber
from streams.worker import RawRecord
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED, Log, raw_page

ODD: list[Any] = [
    *(None, True, False, 0, -0.0, 1, -1, 5, 7.25, 1e3, 1e-7, 10**15, 10**30, 2.5e400, -4),
    *("", " ", "null", "n/a", "-", "0", "7.25", "007", "1e2", "nan", "inf", "D", "d", " GIA ", "gia", "GIA"),
    *("round", "ROUND", "Cushion_Brilliant", "EX", "excellent", "NONE", "FANCY", "YELLOW", "nonsense", "50%"),
    *(
        "101%",
        "https://a.example/b c",
        "https://",
        "http://a.example",
        "ftp://a",
        "HTTPS://A",
        "abcd",
        "abcde",
    ),
    *(" abcde", "abcde ", "a" * 200, "a" * 201, "https://" + "b" * 3_992, "https://" + "b" * 3_993, "a~ !#"),
    *(
        "é",
        "a\tb",
        'a"b',
        "a\\b",
        "\x7f",
        [],
        ["x"],
        {},
        {"url": "https://a.example"},
        {"a": [1, {"b": "}"}]},
    ),
]


def leaves(made: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in made.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}__")


PATHS = [*leaves(item()), "more", "diamond__more", "diamond__certificate__v360__url"]


@st.composite
def items(draw: st.DrawFn) -> str:
    """The text of an item that is odd in up to three places, and perhaps written otherwise than the vendor does."""
    made = item(draw(st.integers(1, 3)))
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=3)):
        *parents, name = path.split("__")
        place: Any = made
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue
        if draw(st.integers(0, 4)):
            place[name] = draw(st.sampled_from(ODD) | st.text(max_size=8) | st.integers() | st.floats())
        else:
            place.pop(name, None)
    text = json.dumps(made, indent=draw(st.sampled_from([None, None, 1])), ensure_ascii=False)
    text = text.replace("NaN", "0.5").replace("-Infinity", "-1").replace("Infinity", "1")
    if draw(st.integers(0, 7)) == 0:
        twice = draw(
            st.sampled_from(['"id":"again",', '"diamond":null,', '"price":7,', '"more":{"id":"x"},'])
        )
        text = text.replace("{", "{" + twice, 1)
    return text


def reply(texts: list[str]) -> bytes:
    body = f'{{"data":{{"as":{{"diamonds_by_query":{{"items":[{",".join(texts)}]}}}}}}}}'
    return body.encode("utf-8", "surrogatepass")


def slow_log() -> Log:
    log = Log()
    for normaliser in log.normalisers.values():
        normaliser.transcriber = None
    return log


def told(out: Outbox) -> Any:
    return [*out.versions()], out.dead, out.receipts, out.outcomes


QUICK, SLOW = Log(), slow_log()


def assert_both_ways_tell_the_same(record: RawRecord) -> None:
    outs = []
    for log in (QUICK, SLOW):
        out = Outbox()
        log.worker.take(record, log.book, log.now_ms, out)
        out.settle()
        outs.append(told(out))
    assert outs[0] == outs[1]


def spoilt(path: str, value: object) -> str | None:
    """The text of an item with another value in one place; none where the place is no struct's."""
    made = item(7)
    *parents, name = path.split("__")
    place: Any = made
    for parent in parents:
        place = place.get(parent)
        if not isinstance(place, dict):
            return None
    place[name] = value
    return json.dumps(made, ensure_ascii=False)


def twice(path: str) -> list[str]:
    """Texts of items with one key a second time: null at first, and null at last."""
    name = path.rpartition("__")[2]
    last = spoilt(path.removesuffix(name) + "@", None) or "{}"
    return [
        json.dumps(item(7)).replace(f'"{name}": ', f'"{name}": null, "{name}": ', 1),
        last.replace('"@"', f'"{name}"'),
    ]


@pytest.mark.parametrize("path", PATHS)
def test_every_odd_value_in_every_place_gives_the_same(path: str) -> None:
    texts = [*twice(path), *(text for value in ODD if (text := spoilt(path, value)) is not None)]
    texts += [text.replace(f'"{path.rpartition("__")[2]}":', '"gone":', 1) for text in texts[:1]]
    for number, text in enumerate(texts, start=1):
        # Twice: what was not known at first is learned then. A neighbor must not suffer.
        for page in (reply([text]), reply([json.dumps(item(8)), text])):
            outs = []
            for log in (QUICK, SLOW):
                out = Outbox()
                log.worker.take(raw_page(seq=number, value=page, rows=b"1"), log.book, log.now_ms, out)
                out.settle()
                outs.append(told(out))
            assert outs[0] == outs[1]


STRANGE = [
    *(
        "",
        " ",
        ",",
        ",,",
        ":",
        '"',
        "{",
        "}",
        "[",
        "]",
        "[]",
        "{}",
        '{"a":[1,{"b":[]}]}',
        "null",
        "nul",
        "true",
        "tru",
    ),
    *(
        "false",
        "falsy",
        "0",
        "00",
        "01",
        "-",
        "-0",
        "+1",
        "1.",
        ".1",
        "1.5",
        "1e5",
        "1E+5",
        "1e",
        "1e+",
        "-1.5e-3",
        "NaN",
    ),
    *("\n", "\t", "\x01", "\x7f", "\\", "é", "/", "'", '"a":1,', '"a" : 1 ,', '"a":}', '"\x02":1,'),
]


@given(st.lists(items(), min_size=1, max_size=2), st.data())
def test_a_list_that_is_read_is_json_and_its_items_are_those_of_the_page(
    texts: list[str], data: st.DataObject
) -> None:
    page = reply(texts)
    for _ in range(data.draw(st.integers(0, 2))):
        begin = data.draw(st.integers(0, len(page)))
        end = begin + data.draw(st.integers(0, 2) | st.integers(0, len(page)))
        page = page[:begin] + data.draw(st.sampled_from(STRANGE)).encode() + page[end:]
    normaliser = QUICK.normalisers[FEED]
    mine, reader = normaliser.transcriber, normaliser.pages
    assert mine is not None
    read = mine.transcribe_list(page, [])
    if read is None or not reader.holds_nothing(read[1].around):
        return
    assert is_plain(page)
    json.loads(page)
    parts = [*map(bytes, reader.split(page))]
    assert [read[1].item(place) for place in range(len(read[0].ids))] == parts
    assert read[0].ids == mine.transcribe(parts, []).ids


@pytest.mark.parametrize("strange", STRANGE)
def test_a_page_is_read_or_split_whatever_stands_in_it(strange: str) -> None:
    page = reply([json.dumps(item(7)), json.dumps(item(8), separators=(",", ":"))])
    places = [*range(0, len(page), 41), *range(len(page) - 20, len(page))]
    for number, place in enumerate(places, start=1):
        record = raw_page(seq=number, value=page[:place] + strange.encode() + page[place:], rows=b"1")
        assert_both_ways_tell_the_same(record)


def test_a_vendors_list_is_read_without_splitting() -> None:
    for feed, body in page_bodies(1_500, seed=5, bad_share=0):
        mine, reader = QUICK.normalisers[feed].transcriber, QUICK.normalisers[feed].pages
        assert mine is not None
        read = mine.transcribe_list(body, [])
        assert read is not None
        assert reader.holds_nothing(read[1].around)
        made, found = read
        assert [found.item(place) for place in range(len(made.ids))] == [*map(bytes, reader.split(body))]


@pytest.mark.parametrize(
    "around",
    [
        '{"errors":[LIST],"data":{"diamonds_by_query":{"items":[]}}}',
        '{"data":{"diamonds_by_query":{"items":null,"more":[LIST]}}}',
        '{"data":{"diamonds_by_query":{"items":[LIST],"more":[]}}}',
        '{"data":{"get_diamond_by_id":{"more":[LIST]}}}',
        '{"data":{"diamonds_by_query":{"items":[LIST]}}',
        '{"data":{"diamonds_by_query":{"items":"[LIST]"}}}',
    ],
)
def test_another_list_is_not_taken_for_the_items(around: str) -> None:
    page = around.replace("LIST", json.dumps(item(1))).encode()
    mine, reader = QUICK.normalisers[FEED].transcriber, QUICK.normalisers[FEED].pages
    assert mine is not None
    read = mine.transcribe_list(page, [])
    assert read is None or not reader.holds_nothing(read[1].around)


NUMBERS: list[Any] = [
    *(
        "5.89",
        "59.00",
        "5.830000",
        "62.20",
        "7",
        "0.5",
        "0.0001",
        "0.00012",
        "5.83001",
        "5.8300100",
        "1.23456",
    ),
    *(
        "200",
        "200.0000",
        "200.0001",
        "1000.0",
        "1000.001",
        "0.0",
        "00.5",
        ".5",
        "5.",
        "1.2.3",
        "-5.1",
        "+5.1",
    ),
    *(
        " 5.1",
        "5_0",
        "1e1",
        "5.1e0",
        "123456789012.5",
        "9" * 15,
        "9" * 25,
        5,
        5.25,
        0.71,
        1.5e-5,
        200,
        1000.5,
    ),
]


@pytest.mark.parametrize("name", ["carats", "length", "table", "crownAngle"])
def test_a_decimal_gives_the_same_learned_or_not(name: str) -> None:
    quick, slow, learning = Log(), slow_log(), Log()
    # A table that looks at these fields has them learned.
    ours = {"carats": "carat", "length": "length_mm", "table": "table_percent", "crownAngle": "crown_angle"}
    learning.book = book({ours[name]: {"min": 0.00015}})
    slow_learning = slow_log()
    slow_learning.book = learning.book
    for number, value in enumerate(NUMBERS, start=1):
        record = raw_page(item(number, **{f"diamond__certificate__{name}": value}), seq=number)
        assert told(quick.take(record)) == told(slow.take(record))
        assert told(learning.take(record)) == told(slow_learning.take(record))


def test_decimals_as_vendors_write_them_need_not_be_learned() -> None:
    mine = Log().normalisers[FEED].transcriber
    assert mine is not None
    mine.transcribe([json.dumps(item(1)).encode()], [])
    learned = mine._known._count
    for value in ("5.89", "59.00", "5.830000", 62.25, 62):
        text = json.dumps(item(1, diamond__certificate__width=value)).encode()
        assert mine.transcribe([text], []).ids != [""]
    assert mine._known._count == learned
    mine.transcribe([json.dumps(item(1, diamond__certificate__width="5.890")).encode()], ["width_mm"])
    assert mine._known._count > learned


@given(st.lists(items(), min_size=1, max_size=4), st.integers(0, 30))
def test_both_ways_give_the_same(texts: list[str], cut: int) -> None:
    page = reply(texts)
    for value in (page, page[:-cut] if cut else page + b" "):
        record = raw_page(seq=5, value=value, rows=b"1")
        assert_both_ways_tell_the_same(record)
    quick, slow = (
        {name: one.unknown.by_field for name, one in log.normalisers.items()} for log in (QUICK, SLOW)
    )
    assert quick == slow


def test_the_vendors_pages_are_nearly_all_compiled_and_the_same() -> None:
    quick, slow = Log(), slow_log()
    counts = [0, 0]
    for number, (feed, body) in enumerate(page_bodies(3_000, seed=5, bad_share=0.1), start=1):
        assert is_plain(body)
        mine = quick.normalisers[feed].transcriber
        assert mine is not None
        encoded = mine.transcribe(quick.normalisers[feed].pages.split(body), [])
        counts[0] += len(encoded.ids)
        counts[1] += sum(map(bool, encoded.ids))
        if feed == FEED:
            record = raw_page(seq=number, value=body, rows=b"50")
            assert told(quick.take(record)) == told(slow.take(record))
    assert counts[1] > 0.85 * counts[0]


def test_what_does_not_fit_into_the_table_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcriber, "MOST_LEARNED", 60)
    quick, slow = Log(), slow_log()
    for number in range(1, 30):
        record = raw_page(item(number), item(99, diamond__location=f"Town {number}"), seq=number)
        assert told(quick.take(record)) == told(slow.take(record))


def test_the_table_grows() -> None:
    quick, slow = Log(), slow_log()
    for number in range(1, 80):
        towns = [
            item(100 * number + place, diamond__location=f"Town {number} {place}") for place in range(50)
        ]
        record = raw_page(*towns, seq=number)
        assert told(quick.take(record)) == told(slow.take(record))


def book(when: dict[str, Any], share_bps: int = 10_000) -> PriceBook:
    rules = RuleSet.model_validate(
        {"rules": [{"name": "one", "priority": 1, "margin_bps": 100, "when": when}]}
    )
    return PriceBook(
        PublishedRuleSet(
            number=2, published_at=0, actor="test", reason="test", content=rules, share_bps=share_bps,
            rest=Side(number=1, content=RuleSet()) if share_bps < 10_000 else None,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("when", "share_bps"),
    [
        ({"shape": ["ROUND"]}, 10_000),
        ({"carat": {"min": 1.2}, "any": [{"color": ["D"]}, {"lab_grown": True}]}, 10_000),
        ({"cost_cents": {"max": 400_000}}, 10_000),
        ({"cost_per_carat_cents": {"max": 300_000}}, 10_000),
        ({"type": ["fancy"]}, 10_000),
        ({"list_discount_bps": {"max": -4_000}}, 10_000),
        ({"shape": ["ROUND"]}, 5_000),
    ],
)
def test_remembered_terms_are_those_of_the_stone(when: dict[str, Any], share_bps: int) -> None:
    rules = book(when, share_bps)
    log = Log()
    normaliser = log.normalisers["nivoda-labgrown"]
    terms = TermsOf(rules, normaliser.transcriber)
    assert normaliser.transcriber is not None
    for feed, body in page_bodies(1_500, seed=3):
        if feed != "nivoda-labgrown":
            continue
        made = normaliser.transcriber.transcribe(normaliser.pages.split(body), terms.fields)
        for stone, json_text, entries, known in zip(
            made.ids, made.jsons, made.entries, terms.known(made.entries, None), strict=True
        ):
            if stone:
                content = content_of(json_text)
                assert content.id == stone
                number = terms.of(content, None, entries) if known is None else known
                assert terms.given[number] == (rules.margin(content, None), rules.rating(content, None))
