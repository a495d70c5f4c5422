"""A buyer of the simulated vendor, in process: logs in, asks, and looks through the door."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
from graphql import GraphQLObjectType, build_schema, get_named_type
from starlette.applications import Starlette

from connectors.simulator.sdl import SDL
from connectors.simulator.server import PATH, create_app
from connectors.simulator.settings import SimulatorSettings
from connectors.simulator.vendor import Vendor

LOGIN = (
    "query Login($u: String!, $p: String!)"
    " { authenticate { username_and_password(username: $u, password: $p) { token expires } } }"
)
SEARCH = (
    "query Search($query: DiamondQuery, $offset: Int, $limit: Int, $order: DiamondOrder) {"
    " diamonds_by_query(query: $query, offset: $offset, limit: $limit, order: $order)"
    " { total_count items { id price diamond { id availability certificate { carats shape color } } } } }"
)
COUNT = "query Count($query: DiamondQuery) { diamonds_by_query_count(query: $query) }"
HOLD = "mutation Hold($id: ID!) { create_hold(ProductId: $id, ProductType: Diamond) { id denied until } }"


class Buyer:
    """Talks to one simulator."""

    def __init__(self, settings: SimulatorSettings | None = None, vendor: Vendor | None = None) -> None:
        # A test may ask as often as it likes, unless it is about just that.
        self.app: Starlette = create_app(
            settings or SimulatorSettings(stones=2_000, requests_per_s=1_000_000), vendor
        )
        self.vendor: Vendor = self.app.state.vendor
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://vendor.test",
            headers={"Accept-Encoding": ""},
        )

    async def post(self, query: str, token: str | None = None, /, **variables: Any) -> httpx.Response:
        """One GraphQL request as it comes back."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.post(PATH, json={"query": query, "variables": variables}, headers=headers)

    async def ask(self, query: str, token: str | None = None, /, **variables: Any) -> Any:
        """The data of a reply without errors."""
        reply = (await self.post(query, token, **variables)).json()
        assert "errors" not in reply, reply["errors"]
        return reply["data"]

    async def log_in(self) -> str:
        """A token."""
        settings = self.vendor.settings
        data = await self.ask(LOGIN, u=settings.username, p=settings.password.get_secret_value())
        return str(data["authenticate"]["username_and_password"]["token"])

    async def page(self, query: dict[str, Any] | None = None, **window: Any) -> Any:
        """A page by the vendor's own hands, logged in for it."""
        return (await self.ask(SEARCH, await self.log_in(), query=query, **window))["diamonds_by_query"]

    async def count(self, query: dict[str, Any] | None = None) -> int:
        """A count."""
        return int((await self.ask(COUNT, await self.log_in(), query=query))["diamonds_by_query_count"])

    async def faults(self, **settings: Any) -> None:
        """Set fault switches."""
        (await self.http.post("/_sim/faults", json=settings)).raise_for_status()

    async def door(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the door answers: GET without a body, else POST."""
        url = f"/_sim/{path}"
        reply = await (self.http.get(url) if body is None else self.http.post(url, json=body))
        reply.raise_for_status()
        return reply.json()

    async def stones(self, **asked: Any) -> list[dict[str, Any]]:
        """The true stones."""
        reply = await self.http.get("/_sim/stones", params=asked)
        reply.raise_for_status()
        stones: list[dict[str, Any]] = msgspec.json.decode(
            b"[" + b",".join(reply.content.splitlines()) + b"]"
        )
        return stones


def whole_selection(type_name: str = "DiamondItem") -> str:
    """Every field of an item, nested to the end."""
    schema = build_schema(SDL)

    def fields(name: str) -> str:
        graphql_type = schema.type_map[name]
        assert isinstance(graphql_type, GraphQLObjectType)
        parts = []
        for field, definition in graphql_type.fields.items():
            inner = get_named_type(definition.type)
            parts.append(f"{field} {fields(inner.name)}" if isinstance(inner, GraphQLObjectType) else field)
        return "{ " + " ".join(parts) + " }"

    return fields(type_name)
