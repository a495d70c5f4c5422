"""A daily source of exchange rates: the European Central Bank's reference rates, as its XML file gives them.

Source: https://www.ecb.europa.eu/stats/eurofxref/eurofxref-daily.xml (euros; every working day about 16:00 CET).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from typing import Final

import httpx

from schemas.errors import Retriable
from schemas.ruleset import HOME_CURRENCY, Rate

SOURCE: Final = "ecb"
_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 1_000_000
_TIME: Final = re.compile(r"""time=["'](\d{4}-\d\d-\d\d)["']""")
_RATE: Final = re.compile(r"""currency=["']([A-Z]{3})["']\s+rate=["']([0-9.]{1,20})["']""")
_DECIMALS: Final = {
    "JPY": 0,
    "KRW": 0,
    "ISK": 0,
    "VND": 0,
    "CLP": 0,
    "KWD": 3,
    "BHD": 3,
    "JOD": 3,
    "OMR": 3,
    "TND": 3,
}
"""Of a currency's minor unit, where they are not two (ISO 4217)."""


async def fetch(url: str, transport: httpx.AsyncBaseTransport | None = None) -> Sequence[Rate]:
    """Today's rates.

    Raises:
        Retriable: the source does not answer, or not with rates.
    """
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, transport=transport) as client:
            reply = await client.get(url)
            reply.raise_for_status()
    except httpx.HTTPError as error:
        raise Retriable(f"the source of exchange rates does not answer: {error}") from error
    return read(reply.text[:_MAX_BYTES])


def read(text: str) -> list[Rate]:
    """The rates in the source's file. Raises `Retriable` when there are none to the US dollar."""
    day = _TIME.search(text)
    try:
        per_euro = {currency: Decimal(rate) for currency, rate in _RATE.findall(text)}
        dollars = per_euro.get(HOME_CURRENCY)
        if day is None or not dollars:
            raise Retriable("the source of exchange rates gave no rate of the US dollar")
        at = int(datetime.fromisoformat(day[1]).replace(tzinfo=UTC).timestamp() * 1000)
        per_euro["EUR"] = Decimal(1)
        return [
            _rate(currency, rate / dollars, day[1], at)
            for currency, rate in sorted(per_euro.items())
            if currency != HOME_CURRENCY and rate > 0
        ]
    except (DecimalException, ValueError) as error:
        raise Retriable(f"the source of exchange rates gave nonsense: {error}") from error


def _rate(currency: str, per_dollar: Decimal, day: str, at: int) -> Rate:
    minor_per_cent = per_dollar * 10 ** _DECIMALS.get(currency, 2) / 100
    ppm = int((minor_per_cent * 1_000_000).quantize(Decimal(1), ROUND_HALF_UP))
    return Rate(id=f"{SOURCE}:{currency}:{day}", currency=currency, ppm=ppm, at=at, source=SOURCE)
