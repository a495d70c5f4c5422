"""Versions read from the log in machine code are those that decoding gives."""

from __future__ import annotations

import numpy as np

from connectors.log.records import of
from streams.versions import Version, read_version
from streams.written import plain_versions
from tests.unit.streams.items import item
from tests.unit.streams.records import Log, raw_page, rules

NOW_S = 1_796_000_000
"""Moments before 2000 are left to decoding."""


def written() -> list[Version]:
    """Records of every kind of stone: new, seen, changed and priced anew, by runs and outside of them."""
    log = Log()
    log.now_ms = 1_000 * NOW_S + 123
    for page in (
        raw_page(*(item(number) for number in range(1, 9)), seq=1, written_s=NOW_S),
        raw_page(*(item(number) for number in range(1, 5)), seq=2, run="another-run", written_s=NOW_S),
        raw_page(*(item(number, price=77_000) for number in range(3, 7)), seq=3, run=None, written_s=NOW_S),
    ):
        log.take(page)
    log.reprice(rules(2, natural_bps=9_000))
    return log.entries


VERSIONS = written()


def read(versions: list[Version], bodies: list[bytes | None]) -> tuple[list[Version], list[bool]]:
    ids = [version.id for version in versions]
    records = of([(stone.encode(), body) for stone, body in zip(ids, bodies, strict=True)])
    sheet, plain = plain_versions(records, ids, np.arange(len(ids)))
    return list(sheet.versions()), plain.tolist()


def test_plain_records_are_read_as_decoding_reads_them() -> None:
    assert {version.changed for version in VERSIONS} == {True, False}
    assert len({version.run for version in VERSIONS}) > 2
    found, plain = read(VERSIONS, [version.body for version in VERSIONS])
    assert all(plain)
    assert found == VERSIONS
    assert found == [read_version(version.body or b"") for version in VERSIONS]


def test_what_is_not_plain_is_left_and_spoils_nothing_beside_it() -> None:
    body = VERSIONS[1].body or b""
    digits = body.partition(b'"content_hash":"')[2][:16]
    bodies = [
        VERSIONS[0].body,
        None,
        b"garbage",
        body.replace(digits, b"not hexadecimal!"),
        body.replace(digits, digits[:8]),
        body.replace(b'"seq":', b'"seq": '),
        body.replace(b'"comments":', b'"comments":"\xc3\xa9","former":', 1),
        VERSIONS[7].body,
    ]
    found, plain = read([VERSIONS[0], *[VERSIONS[1]] * 6, VERSIONS[7]], bodies)
    assert plain == [True, *[False] * 6, True]
    assert found == [VERSIONS[0], VERSIONS[7]]


def test_a_stone_first_seen_by_nobody_is_read() -> None:
    body = VERSIONS[0].body or b""
    begin = body.index(b'"first_seen":') + len(b'"first_seen":')
    end = body.index(b",", begin)
    unknown = body[:begin] + b"null" + body[end:]
    found, plain = read([VERSIONS[0]], [unknown])
    assert plain == [True]
    assert found == [read_version(unknown)]


def test_a_record_under_another_stones_key_is_left() -> None:
    records = of([(VERSIONS[1].id.encode(), VERSIONS[0].body)])
    sheet, plain = plain_versions(records, [VERSIONS[1].id], np.arange(1))
    assert (len(sheet.ids), plain.tolist()) == (0, [False])
