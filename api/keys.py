"""API keys: made once, kept as hashes, named. The name is the actor of whatever the key does.

A key is 32 random bytes, so a plain SHA-256 of it cannot be guessed backwards. The functions here are for commands;
the service itself reads all keys into memory (`api.keyring`).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, TypeVar

import asyncpg

from schemas.errors import Invalid, Retriable

KEY_PREFIX: Final = "adm_"
KEY_PATTERN: Final = re.compile(r"adm_[A-Za-z0-9_-]{43}")
"""What a key looks like; anything else is refused without looking."""

_KEY_BYTES: Final = 32
_NAME_PATTERN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_CONNECT_TIMEOUT_S: Final = 10

_INSERT: Final = "INSERT INTO api_keys (name, hash, scopes, created_by) VALUES ($1, $2, $3, $4)"
_ENSURE: Final = f"""{_INSERT}
ON CONFLICT (name) DO UPDATE
SET hash = excluded.hash, scopes = excluded.scopes, revoked_at = NULL, revoked_by = NULL"""
_LIST: Final = "SELECT name, scopes, created_at, created_by, revoked_at FROM api_keys ORDER BY name"
_REVOKE: Final = (
    "UPDATE api_keys SET revoked_at = now(), revoked_by = $2 WHERE name = $1 AND revoked_at IS NULL"
)

ResultT = TypeVar("ResultT")


class Scope(StrEnum):
    """What a key may do."""

    READ_DIAMONDS = "diamonds:read"
    READ_COST = "cost:read"
    EXPORT = "diamonds:export"
    OPERATE = "operate"
    READ_RULES = "rules:read"
    WRITE_RULES = "rules:write"
    ADMIN = "admin"


ALL_SCOPES: Final = tuple(Scope)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown: everything but the key."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


def hash_key(key: str) -> bytes:
    """What is stored of a key: 32 bytes."""
    return sha256(key.encode()).digest()


def new_key() -> str:
    """A random key, e.g. `adm_4fzK…`."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def create_key(dsn: str, name: str, scopes: Iterable[str], actor: str) -> str:
    """Make a key; it is returned this once and never again.

    Raises:
        Invalid: the name is taken or malformed, or a scope does not exist.
        Retriable: Postgres does not answer.
    """
    key, checked = new_key(), _checked(name, scopes)
    try:
        _run(dsn, lambda link: link.execute(_INSERT, name, hash_key(key), checked, actor))
    except asyncpg.UniqueViolationError as error:
        raise Invalid(
            "name", f"there already is a key {name!r}; revoked names stay taken", "taken"
        ) from error
    return key


def ensure_key(dsn: str, name: str, scopes: Iterable[str], key: str, actor: str = "adamas") -> None:
    """Make the named key be this one, so that a start over kept data can keep its demo key.

    Raises:
        Invalid: key or name are malformed, or a scope does not exist.
        Retriable: Postgres does not answer.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise Invalid("key", f"must be {KEY_PREFIX} and 43 characters of base64url")
    checked = _checked(name, scopes)
    _run(dsn, lambda link: link.execute(_ENSURE, name, hash_key(key), checked, actor))


def list_keys(dsn: str) -> list[KeyInfo]:
    """Every key by name, revoked ones too. Raises `Retriable` when Postgres does not answer."""
    rows = _run(dsn, lambda link: link.fetch(_LIST))
    return [KeyInfo(row[0], tuple(row[1]), row[2], row[3], row[4]) for row in rows]


def revoke_key(dsn: str, name: str, actor: str) -> None:
    """End a key; services notice within seconds.

    Raises:
        Invalid: there is no such key, or it was revoked before.
        Retriable: Postgres does not answer.
    """
    if _run(dsn, lambda link: link.execute(_REVOKE, name, actor)) != "UPDATE 1":
        raise Invalid("name", f"there is no key {name!r} that could be revoked", "unknown")


def _checked(name: str, scopes: Iterable[str]) -> list[str]:
    if not _NAME_PATTERN.fullmatch(name):
        raise Invalid("name", "must be lower-case letters, digits, dots, dashes and underscores, at most 63")
    chosen = list(dict.fromkeys(scopes))
    for scope in chosen:
        if scope not in ALL_SCOPES:
            raise Invalid("scopes", f"{scope!r} does not exist; there are {', '.join(ALL_SCOPES)}")
    if not chosen:
        raise Invalid("scopes", "a key needs at least one scope")
    return chosen


def _run(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[ResultT]]) -> ResultT:
    async def run() -> ResultT:
        try:
            link = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
        except (OSError, asyncpg.PostgresConnectionError, TimeoutError) as error:
            raise Retriable(f"Postgres does not answer: {error}") from error
        try:
            return await work(link)
        finally:
            await link.close()

    return asyncio.run(run())
