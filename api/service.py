"""What the routes share: the index, the keys, and who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from api.awaited import Awaited
from api.freshness import Freshness
from api.index import Index
from api.keyring import Caller, Keys
from api.keys import Scope
from api.problems import KEY_HEADER, NotAllowed, NotAuthenticated, NotReady
from api.vendor import Vendor
from operating.archive import Storage
from runtime.health import Health
from runtime.postgres import Database, Link
from runtime.settings import IngestSettings, KafkaSettings
from schemas.errors import Retriable
from schemas.feeds import STANDARD
from streams.rules.desk import RuleDesk


@dataclass(frozen=True)
class Service:
    """One process's answers.

    Attributes:
        index: the stones.
        keys: who may ask.
        health: how the process is.
        freshness: which state the data is in.
        vendor: for what only the vendor knows.
        awaited: tells when the index has what the log was told.
        database: for what operators see and do; reads of stones never need it.
        kafka: the same.
        desk: the actions on rule sets.
        archive: where pages are that Kafka keeps no more.
        ingest: from when on a run is stuck, or the vendor's count off.
    """

    index: Index
    keys: Keys
    health: Health = field(default_factory=Health)
    freshness: Freshness = field(default_factory=lambda: Freshness(STANDARD))
    database: Database | None = None
    vendor: Vendor | None = None
    awaited: Awaited = field(default_factory=Awaited)
    kafka: KafkaSettings | None = None
    desk: RuleDesk | None = None
    archive: Storage | None = None
    ingest: IngestSettings = field(default_factory=IngestSettings.model_construct)

    @asynccontextmanager
    async def postgres(self) -> AsyncIterator[Link]:
        """A connection for an operator's route. Raises `Retriable`, answered as 503, when Postgres is away."""
        if self.database is None:
            raise Retriable("this service has no Postgres")
        async with self.database.link() as link:
            yield link

    @property
    def rules(self) -> RuleDesk:
        """The actions on rule sets. Raises `Retriable` where the service has none."""
        if self.desk is None:
            raise Retriable("this service has no Postgres")
        return self.desk

    async def authorise(self, request: Request, scope: Scope) -> Caller:
        """Who asks, if they may. Raises as `caller` does."""
        key = request.headers.get(KEY_HEADER)
        return await self.caller(
            None if key is None else key.encode("latin-1"), request.scope["access"], scope
        )

    async def caller(self, key: bytes | None, access: dict[str, Any], scope: Scope) -> Caller:
        """Who asks, if they may.

        Args:
            key: the key as it was sent, if one was.
            access: what is noted about the request; gets the key's name.
            scope: what the caller must be allowed to do.

        Raises:
            NotAuthenticated: there is no key in the request, or no such key.
            NotAllowed: the key lacks the scope.
            NotReady: the keys are not known yet.
        """
        caller = await self.keys.find(_text_of(key))
        if caller is None:
            if not self.keys.loaded:
                raise NotReady("the keys are not read yet: Postgres does not answer")
            raise NotAuthenticated("there is no such key, or it was revoked")
        return _allowed(caller, access, scope)

    def known(self, key: bytes | None, access: dict[str, Any], scope: Scope) -> Caller | None:
        """The same at once; None if the key must be looked up."""
        caller = self.keys.known(_text_of(key))
        return None if caller is None else _allowed(caller, access, scope)


def _text_of(key: bytes | None) -> str:
    if key is None:
        raise NotAuthenticated(f"send your key in the header {KEY_HEADER}")
    return key.decode("latin-1")


def _allowed(caller: Caller, access: dict[str, Any], scope: Scope) -> Caller:
    access["key"] = caller.name
    if scope not in caller.scopes:
        raise NotAllowed(f"the key {caller.name} lacks the scope {scope}", scope=scope)
    return caller
