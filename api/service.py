"""What the routes share: the index, the keys, and who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastapi import Request

from api.index import Index, as_of
from api.keyring import Caller, Keys
from api.keys import Scope
from api.problems import NotAllowed, NotAuthenticated, NotReady
from runtime.health import Health
from runtime.postgres import Database, Link
from schemas.errors import Retriable
from schemas.feeds import FEEDS

KEY_HEADER = "X-API-Key"


@dataclass(frozen=True)
class Service:
    """One process's answers.

    Attributes:
        index: the stones.
        keys: who may ask.
        health: how the process is.
        feeds: the feeds that must all have a position before the data has an age.
        database: for what operators see and do; reads of stones never need it.
    """

    index: Index
    keys: Keys
    health: Health = field(default_factory=Health)
    feeds: Sequence[str] = tuple(FEEDS)
    database: Database | None = None

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[Link]:
        """A connection for an operator's route. Raises `Retriable`, answered as 503, when Postgres is away."""
        if self.database is None:
            raise Retriable("this service has no Postgres")
        async with self.database.link() as link:
            yield link

    def as_of(self) -> str | None:
        """The age of the data, RFC 3339; None while a feed has not been read through."""
        at_ms = as_of(self.index.positions, self.feeds)
        return None if at_ms is None else rfc3339(at_ms)

    async def authorise(self, request: Request, scope: Scope) -> Caller:
        """Who asks, if they may.

        Raises:
            NotAuthenticated: there is no key in the request, or no such key.
            NotAllowed: the key lacks the scope.
            NotReady: the keys are not known yet.
        """
        key = request.headers.get(KEY_HEADER)
        if key is None:
            raise NotAuthenticated(f"send your key in the header {KEY_HEADER}")
        caller = await self.keys.find(key)
        if caller is None:
            if not self.keys.loaded:
                raise NotReady("the keys are not read yet: Postgres does not answer")
            raise NotAuthenticated("there is no such key, or it was revoked")
        request.scope["access"]["key"] = caller.name
        if scope not in caller.scopes:
            raise NotAllowed(f"the key {caller.name} lacks the scope {scope}", scope=scope)
        return caller


def rfc3339(epoch_ms: int) -> str:
    """A time with milliseconds, in UTC."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
