"""A small, scripted stand-in for the vendor: an ASGI app over a list of stones, with a fault for any request.

The simulator stands for the vendor's behaviour as a whole; this one lets a test say exactly what the third search answers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DATE = "Thu, 01 May 2025 10:00:00 GMT"
DATE_MS = 1_746_093_600_000


@dataclass(frozen=True)
class Stone:
    id: str
    dollars_per_carat: float
    carats: float = 1.0
    lab_grown: bool = False


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def errors(message: str, data: object = None, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode({"errors": [{"message": message}], "data": data}))


HTML = Answer(200, b"<html>busy</html>", "text/html")
BAN = Answer(403, b"<html>denied</html>", "text/html")
TOO_MANY = Answer(429, b"{}", headers=(("Retry-After", "0.05"),))

Fault = Callable[[str, int, dict[str, Any]], Answer | None]


def no_fault(_operation: str, _number: int, _variables: dict[str, Any]) -> Answer | None:
    return None


@dataclass
class VendorStub:
    """`fault(operation, number of that operation from 0, variables)` may answer instead of it."""

    stones: list[Stone] = field(default_factory=list)
    fault: Fault = no_fault
    money_unit: int = 1
    token: str = "token-1"
    arrivals: list[float] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens_seen: list[str] = field(default_factory=list)

    @property
    def most_in_a_second(self) -> int:
        most, first = 0, 0
        for last, at in enumerate(self.arrivals):
            while self.arrivals[first] <= at - 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def count_of(self, operation: str) -> int:
        return sum(1 for asked, _ in self.asked if asked == operation)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrivals.append(time.monotonic())
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        answer = self._answer(msgspec.json.decode(body), headers.get("authorization", ""))
        sent = [(b"content-type", answer.content_type.encode()), (b"date", DATE.encode())]
        sent += [(name.encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        await send({"type": "http.response.body", "body": answer.body})

    def _answer(self, request: dict[str, Any], authorization: str) -> Answer:
        operation = request["query"].split()[1].partition("(")[0].lower()
        number, variables = self.count_of(operation), request["variables"]
        self.asked.append((operation, variables))
        fault = self.fault(operation, number, variables)
        if fault:
            return fault
        if operation == "login":
            session = {"username_and_password": {"token": self.token}}
            return Answer(body=msgspec.json.encode({"data": {"authenticate": session}}))
        self.tokens_seen.append(authorization)
        if authorization != f"Bearer {self.token}":
            return errors("jwt expired")
        chosen = self._chosen(variables["query"])
        if operation == "count":
            return Answer(body=msgspec.json.encode({"data": {"diamonds_by_query_count": len(chosen)}}))
        page = chosen[variables["offset"] : variables["offset"] + variables["limit"]]
        return Answer(body=page_body(page))

    def _chosen(self, query: dict[str, Any]) -> list[Stone]:
        price, carats = query["dollar_per_carat"], query.get("sizes", [{"from": 0, "to": 1e9}])[0]
        return [
            stone
            for stone in self.stones
            if stone.lab_grown == query["labgrown"]
            and price["from"] <= stone.dollars_per_carat * self.money_unit <= price["to"]
            and carats["from"] <= stone.carats <= carats["to"]
        ]


def page_body(page: list[Stone]) -> bytes:
    items = [{"id": f"DIAMOND/{stone.id}", "price": 100, "diamond": {"id": stone.id}} for stone in page]
    return msgspec.json.encode({"data": {"diamonds_by_query": {"items": items, "total_count": len(items)}}})
