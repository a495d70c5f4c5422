"""The vendor as the API sees it: the gateway of `ingest`, asked over HTTP with the service token."""

from __future__ import annotations

from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import httpx
import msgspec

from api.problems import NotFound, NotReady, Problem
from runtime.settings import GatewayClientSettings
from schemas.errors import SlowDown
from schemas.gateway import DEADLINE_HEADER, Refusal, Seen

_SLACK_S: Final = 0.5
"""How much later than the call's own deadline we stop listening: the gateway's answer says more than our silence."""


class VendorTrouble(Problem):
    """The vendor gave no answer that can be used."""

    status = HTTPStatus.BAD_GATEWAY
    kind = "vendor-trouble"


class VendorTooSlow(Problem):
    """The vendor's answer did not come in time."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    kind = "vendor-too-slow"


class Vendor:
    """The gateway's client. Use it as a context; it connects when it is first used."""

    def __init__(self, settings: GatewayClientSettings) -> None:
        self._http = httpx.AsyncClient(
            base_url=settings.url,
            headers={"Authorization": f"Bearer {settings.token.get_secret_value()}"},
            # Reading the authorities takes as long as all else that is read at the start, and where there is no TLS is for nothing.
            verify=settings.url.startswith("https:"),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def availability(self, feed: str, stone: str, within_s: float) -> Seen:
        """Whether the vendor can sell a stone now.

        Raises:
            NotReady: the gateway cannot be reached.
            SlowDown: the wait for the vendor would be too long.
            NotFound: the gateway does not serve the feed.
            VendorTrouble, VendorTooSlow: the vendor did not answer.
        """
        headers = {DEADLINE_HEADER: str(max(1, int(within_s * 1000)))}
        path = f"/v1/{feed}/stones/{quote(stone, safe='')}/availability"
        try:
            reply = await self._http.get(path, headers=headers, timeout=within_s + _SLACK_S)
        except httpx.ConnectError as error:
            raise NotReady("the vendor cannot be asked now: ingest does not answer") from error
        except httpx.HTTPError as error:
            raise VendorTooSlow("the vendor's answer did not come in time") from error
        if reply.status_code != HTTPStatus.OK:
            raise _problem(reply)
        return msgspec.json.decode(reply.content, type=Seen)


def _problem(reply: httpx.Response) -> Problem | SlowDown:
    try:
        refusal = msgspec.json.decode(reply.content, type=Refusal)
    except msgspec.DecodeError:
        refusal = Refusal(error="unreadable", detail=f"the gateway answers {reply.status_code}")
    if reply.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        return SlowDown(refusal.detail, float(reply.headers.get("Retry-After", "1")))
    if reply.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(refusal.detail, field="id")
    if reply.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        return VendorTooSlow(refusal.detail)
    return VendorTrouble(refusal.detail)
