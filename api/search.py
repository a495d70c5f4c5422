"""A search over HTTP, from the request's bytes to the answer's: the one route that must be as fast as the index.

It stands before the framework's router (`api.access`), so that nothing is done twice: no model is filled, nothing is
decoded, and what the caller already has is not searched for.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import cramjam
import msgspec

from api.cursors import to_cursor
from api.free_text import understand
from api.items import facets_json, joined, page, slim
from api.keyring import Caller
from api.keys import Scope
from api.parameters import WALK_CAP, Asked, check_scopes, read_parameters, split
from api.problems import BadParameter, DataTooOld
from api.query import Query
from api.service import Service
from runtime.asgi import Answer, Headers

PATH: Final = "/v1/diamonds"
AS_OF_HEADER: Final = "X-As-Of"

_JSON: Final = (b"content-type", b"application/json")
_CACHING: Final = (
    # A stone may be sold at any moment: a copy is asked about before it is shown, which costs a 304.
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"X-API-Key, Accept-Encoding"),
)
_COMPRESSED_FROM: Final = 1400
"""Bytes; what fits into one packet gains nothing."""

_GZIP: Final = 31
_LEVEL: Final = 1


class Search:
    """Answers searches from a service's index."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._remembered: dict[tuple[str, str], tuple[str, ...]] = {}

    def at_once(self, scope: Mapping[str, Any]) -> Answer | None:
        """Answer a request, unless its key must be looked up. Raises `Problem` for one that is refused."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        caller = self._service.known(headers.get(b"x-api-key"), scope["access"], Scope.READ_DIAMONDS)
        return None if caller is None else self._answer(scope["query_string"], headers, caller)

    async def answer(self, scope: Mapping[str, Any]) -> Answer:
        """Answer a request. Raises `Problem` for one that is refused."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        caller = await self._service.caller(headers.get(b"x-api-key"), scope["access"], Scope.READ_DIAMONDS)
        return self._answer(scope["query_string"], headers, caller)

    def _answer(self, raw: bytes, headers: Mapping[bytes, bytes], caller: Caller) -> Answer:
        etag = self._etag(raw, caller.scopes)
        known = headers.get(b"if-none-match")
        asked: Asked | None = None
        if b"max_age" in raw:
            asked = self.read(split(raw), caller.scopes)
        if known is not None and etag in known:
            return Answer(304, self._headers(etag), b"")
        if asked is None:
            asked = self.read(split(raw), caller.scopes)
        body = self.body(asked, caller.scopes)
        answer = Answer(200, [_JSON, *self._headers(etag)], body)
        accepted = headers.get(b"accept-encoding")
        if accepted is not None and len(body) >= _COMPRESSED_FROM:
            _compress(answer, accepted)
        answer.headers.append((b"content-length", b"%d" % len(answer.body)))
        return answer

    def read(self, given: Mapping[str, str], scopes: Collection[str]) -> Asked:
        """Parameters as they were given, checked against what the caller may ask and how old the data is.

        Raises:
            BadParameter: a parameter breaks a rule.
            NotAllowed: one needs a scope that the caller lacks.
            DataTooOld: the caller asked for younger data than there is.
        """
        asked = read_parameters(given, self._service.index.values, self._remembered)
        check_scopes(asked, scopes)
        if asked.max_age_s is not None:
            self._check_age(asked.max_age_s)
        return asked

    def query(self, asked: Asked, scopes: Collection[str]) -> tuple[Query, bytes]:
        """The search that was asked for, and what to tell of how free text was understood, as JSON members."""
        more = b""
        if asked.text is not None:
            more = b',"understood":' + self._understand(asked, asked.text, scopes)
        query = asked.query()
        left = WALK_CAP - asked.walked
        if query.after is not None and left < query.limit and Scope.EXPORT not in scopes:
            if left <= 0:
                rule = f"goes beyond the first {WALK_CAP} items, which needs the scope {Scope.EXPORT}"
                raise BadParameter("cursor", rule)
            query = replace(query, limit=left)
        return query, more

    def body(self, asked: Asked, scopes: Collection[str]) -> bytes:
        """The answer to a search, as JSON."""
        service = self._service
        query, more = self.query(asked, scopes)
        found = service.index.search(query)
        if found.counted is not None:
            more += b',"facets":' + facets_json(found.counted)
        cursor = None
        if found.last is not None:
            walked = asked.walked + query.offset + len(found.rows)
            if walked >= WALK_CAP and Scope.EXPORT not in scopes:
                more += b',"capped":true'
            else:
                cursor = to_cursor(found.last, query.sort, walked, asked.filters)
        items = self._items(found.rows, slim_ones=asked.slim, with_cost=Scope.READ_COST in scopes)
        return page(items, found.total, cursor, service.freshness.as_of, more)

    def _items(self, rows: Sequence[int], *, slim_ones: bool, with_cost: bool) -> bytes | memoryview:
        fragments = self._service.index.fragments
        if not slim_ones and not with_cost:
            return fragments.array(rows)
        items = fragments.items(rows, with_cost=with_cost)
        return joined([slim(item) for item in items] if slim_ones else items)

    def _understand(self, asked: Asked, text: str, scopes: Collection[str]) -> bytes:
        index = self._service.index

        def exists(name: str, beginning: str) -> bool:
            return index.search(Query(prefixes={name: (beginning,)}, limit=0)).total > 0

        numbers = ["certificate_number"]
        if Scope.READ_COST in scopes:
            numbers.append("supplier_stock_number")
        understood = understand(text, index.values, exists, numbers)
        taken = {name: value for name, value in understood.filters.items() if name not in asked.given}
        for name in tuple(taken):
            # What is asked for in so many words counts; a range is replaced as a whole.
            stem = name.removesuffix("_min").removesuffix("_max").removesuffix("_prefix")
            if any(other in asked.given for other in (stem, f"{stem}_min", f"{stem}_max", f"{stem}_prefix")):
                del taken[name]
        parsed = read_parameters(taken, index.values, self._remembered)
        for name in ("lists", "ends", "grades", "flags", "prefixes"):
            getattr(asked, name).update(getattr(parsed, name))
        return msgspec.json.encode({"filters": taken, "not_understood": understood.rest})

    def _check_age(self, max_age_s: float) -> None:
        at_ms = self._service.freshness.as_of_ms
        age_s = None if at_ms is None else time.time() - at_ms / 1000
        if age_s is None or age_s > max_age_s:
            raise DataTooOld(
                f"the data is {'of unknown age' if age_s is None else f'{age_s:.0f} s old'}; at most"
                f" {max_age_s:.0f} s were asked for",
                as_of=self._service.freshness.as_of,
            )

    def _etag(self, raw: bytes, scopes: Collection[str]) -> bytes:
        cost = b"c" if Scope.READ_COST in scopes else b""
        cap = b"" if Scope.EXPORT in scopes else b"w"
        return b'"%b.%x%b%b"' % (self._service.freshness.version.encode(), zlib.crc32(raw), cost, cap)

    def _headers(self, etag: bytes) -> Headers:
        as_of = (self._service.freshness.as_of or "unknown").encode()
        # Weak: the body also tells the data's age, which goes on while nothing else changes.
        return [(b"etag", b"W/" + etag), (b"x-as-of", as_of), *_CACHING]


def _compress(answer: Answer, accepted: bytes) -> None:
    if b"zstd" in accepted:
        coding, answer.body = b"zstd", bytes(cramjam.zstd.compress(answer.body, _LEVEL))
    elif b"gzip" in accepted:
        coding, answer.body = b"gzip", zlib.compress(answer.body, _LEVEL, _GZIP)
    else:
        return
    answer.headers.append((b"content-encoding", coding))
