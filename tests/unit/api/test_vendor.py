"""The gateway's client: an id from outside is a piece of a path, and nothing more."""

import httpx
import pytest
from pydantic import SecretStr

from api.problems import NotFound
from api.vendor import Vendor
from runtime.settings import GatewayClientSettings


async def test_an_id_leads_to_no_other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def get(path: str, **_: object) -> httpx.Response:
        asked.append(path)
        return httpx.Response(404, json={"error": "unknown", "detail": "there is no such stone"})

    async with Vendor(
        GatewayClientSettings(url="http://gateway.test", token=SecretStr("a token of the service"))
    ) as vendor:
        monkeypatch.setattr(vendor._http, "get", get)
        with pytest.raises(NotFound, match="no such stone"):
            await vendor.availability("nivoda-natural", "../x?y#z", 1)
    assert asked == ["/v1/nivoda-natural/stones/..%2Fx%3Fy%23z/availability"]
