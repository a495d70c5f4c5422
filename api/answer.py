"""An answer as the server is told it, for routes that stand before the framework's router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Send

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """Status, headers and body."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Hand it to the server."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


Direct = Callable[[Mapping[str, Any]], Awaitable[Answer]]
"""Answers a request by its ASGI scope; raises `Problem` for one that is refused."""
