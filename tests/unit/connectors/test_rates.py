"""The European Central Bank's daily file, served in its own shape by a server of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from connectors.rates import fetch, read
from schemas.errors import Retriable

# As https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml is, with fewer currencies.
FILE = b"""<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
\t<gesmes:subject>Reference rates</gesmes:subject>
\t<gesmes:Sender>
\t\t<gesmes:name>European Central Bank</gesmes:name>
\t</gesmes:Sender>
\t<Cube>
\t\t<Cube time='2026-11-27'>
\t\t\t<Cube currency='USD' rate='1.0900'/>
\t\t\t<Cube currency='JPY' rate='163.50'/>
\t\t\t<Cube currency='GBP' rate='0.83375'/>
\t\t</Cube>
\t</Cube>
</gesmes:Envelope>
"""


@contextmanager
def served(body: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/stats/eurofxref/eurofxref-daily.xml"
        finally:
            server.shutdown()
            thread.join()


def test_rates_are_minor_units_per_million_us_cents_and_know_their_day() -> None:
    with served(FILE) as url:
        rates = {rate.currency: rate for rate in asyncio.run(fetch(url))}
    # 1/1.09 euros, 0.83375/1.09 pounds a dollar; 150 yen a dollar, which has no smaller coin.
    assert {name: rate.ppm for name, rate in rates.items()} == {
        "EUR": 917_431,
        "GBP": 764_908,
        "JPY": 1_500_000,
    }
    euro = rates["EUR"]
    assert (euro.id, euro.source, euro.at) == ("ecb:EUR:2026-11-27", "ecb", 1_795_737_600_000)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (FILE, 503),
        (b"<html>maintenance</html>", 200),
        (FILE.replace(b"1.0900", b"0.0000"), 200),
        (FILE.replace(b"1.0900", b"1.0.9"), 200),
        (FILE.replace(b"2026-11-27", b"2026-13-27"), 200),
    ],
)
def test_what_is_no_rates_is_tried_again_later(body: bytes, status: int) -> None:
    with served(body, status) as url, pytest.raises(Retriable, match="source of exchange rates"):
        asyncio.run(fetch(url))


def test_nobody_answers() -> None:
    with pytest.raises(Retriable, match="does not answer"):
        asyncio.run(fetch("http://127.0.0.1:1/"))


def test_only_rates_that_can_be_used_are_read() -> None:
    assert [rate.currency for rate in read(FILE.replace(b"0.83375", b"0").decode())] == ["EUR", "JPY"]
