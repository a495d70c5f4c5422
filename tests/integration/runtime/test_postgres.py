"""The embedded Postgres as the fixtures hand it out."""

import asyncpg
import pytest


async def test_each_test_gets_a_migrated_database(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM diamonds") == 0
        assert await connection.fetchval("SHOW server_version_num") >= "180000"
    finally:
        await connection.close()


async def test_nobody_enters_without_the_password(postgres: str) -> None:
    scheme, _, rest = postgres.partition("://adamas:")
    without = f"{scheme}://adamas:wrong@{rest.partition('@')[2]}"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(without)
