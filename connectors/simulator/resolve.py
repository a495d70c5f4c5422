"""The executable schema: the vendor's fields bound to what the vendor does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, cast

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
)

from .batch import Batch
from .holds import Hold
from .leaves import LEAVES, OBJECTS
from .sdl import SDL
from .tokens import AuthFailure, Session
from .vendor import Page, Refused, Vendor

Info = GraphQLResolveInfo["Asking"]

DIRTY_ENUMS: Final = {
    "clarity": "DiamondClarity",
    "floInt": "DiamondFluorescenseIntensity",
    "floCol": "DiamondFluorescenseColor",
    "labgrown_type": "LabgrownType",
}
"""Certificate fields whose values the vendor's staging could not serialise."""


@dataclass
class Asking:
    """One request while it is answered."""

    vendor: Vendor
    token: str | None
    """From the Authorization header."""
    operations: list[str] = field(default_factory=list)
    unauthenticated: bool = False
    mutated: bool = False

    def session(self, root: object) -> Session:
        """The session of an `as` wrapper, or that of the header. Raises GraphQLError."""
        return root if isinstance(root, Session) else self.check(self.token)

    def check(self, token: str | None) -> Session:
        """Raises GraphQLError with the vendor's words and code."""
        try:
            return self.vendor.tokens.check(token)
        except AuthFailure as failure:
            raise self.not_authenticated(failure) from failure

    def not_authenticated(self, failure: AuthFailure) -> GraphQLError:
        """The error entry for a refused login or token."""
        self.unauthenticated = True
        return GraphQLError(str(failure), extensions={"code": "UNAUTHENTICATED"})

    def began(self, operation: str) -> None:
        """Count a root field."""
        self.operations.append(operation)
        self.vendor.operations[operation] += 1


@dataclass(frozen=True)
class Node:
    """One stone of a batch, seen at one of its objects."""

    batch: Batch
    position: int
    columns: dict[str, list[Any]]


def nodes_of(page: Page) -> list[Node | GraphQLError | None]:
    """The members of a page."""
    members: list[Node | GraphQLError | None] = list(_nodes(page.batch))
    for position in page.null_members:
        members[position] = None
    for position in page.failed_members:
        members[position] = GraphQLError("Cannot read properties of undefined (reading 'certificate')")
    return members


def _nodes(batch: Batch) -> list[Node]:
    columns: dict[str, list[Any]] = {}
    return [Node(batch, position, columns) for position in range(len(batch.rows))]


def _asking(info: Info) -> Asking:
    return info.context


def _wrapped(_root: object, info: Info, token: str | None = None) -> Session:
    return _asking(info).check(token)


def _authenticate(_root: object, _info: Info) -> dict[str, Any]:
    return {}


def _username_and_password(
    _root: object, info: Info, username: str, password: str, **_: Any
) -> dict[str, Any]:
    asking = _asking(info)
    asking.began("authenticate")
    try:
        return asking.vendor.tokens.log_in(username, password)
    except AuthFailure as failure:
        raise asking.not_authenticated(failure) from failure


def _renewed(_root: object, info: Info, **given: str) -> dict[str, Any]:
    asking = _asking(info)
    asking.began("authenticate")
    try:
        return asking.vendor.tokens.renew(given.get("token") or given["refresh_token"])
    except AuthFailure as failure:
        raise asking.not_authenticated(failure) from failure


def page_of(asking: Asking, root: object, arguments: dict[str, Any]) -> Page:
    """Answer `diamonds_by_query`. Raises GraphQLError."""
    asking.began("diamonds_by_query")
    session = asking.session(root)
    query, order = arguments.get("query"), arguments.get("order")
    try:
        return asking.vendor.page(session, query, arguments.get("offset"), arguments.get("limit"), order)
    except Refused as refused:
        raise GraphQLError(str(refused)) from refused


def count_of(asking: Asking, root: object, arguments: dict[str, Any]) -> int:
    """Answer `diamonds_by_query_count`. Raises GraphQLError."""
    asking.began("diamonds_by_query_count")
    asking.session(root)
    try:
        return asking.vendor.count(arguments.get("query"))
    except Refused as refused:
        raise GraphQLError(str(refused)) from refused


def _diamonds_by_query(root: object, info: Info, **arguments: Any) -> dict[str, Any]:
    page = page_of(_asking(info), root, arguments)
    size = len(page.batch.rows)
    return {"items": nodes_of(page), "total_count": size, "result_count": size}


def _diamonds_by_query_count(root: object, info: Info, **arguments: Any) -> int:
    return count_of(_asking(info), root, arguments)


def _get_diamond_by_id(root: object, info: Info, diamond_id: str, **_: Any) -> Node | None:
    asking = _asking(info)
    asking.began("get_diamond_by_id")
    batch = asking.vendor.by_id(asking.session(root), diamond_id)
    return _nodes(batch)[0] if batch else None


def _create_hold(root: object, info: Info, ProductId: str, **_: Any) -> dict[str, Any]:  # noqa: N803
    asking = _asking(info)
    asking.began("create_hold")
    session = asking.session(root)
    try:
        hold = asking.vendor.create_hold(session, ProductId)
    except Refused as refused:
        raise GraphQLError(str(refused)) from refused
    asking.mutated = hold is not None
    return _hold(asking, session, hold, denied=hold is None)


def _cancel_hold(root: object, info: Info, hold_id: str) -> dict[str, Any]:
    asking = _asking(info)
    asking.began("cancel_hold")
    session = asking.session(root)
    try:
        hold = asking.vendor.cancel_hold(session, hold_id)
    except Refused as refused:
        raise GraphQLError(str(refused)) from refused
    asking.mutated = True
    return _hold(asking, session, hold, denied=False)


def _hold(asking: Asking, session: Session, hold: Hold | None, denied: bool) -> dict[str, Any]:
    return {
        "id": hold.id if hold else asking.vendor.holds.new_id(),
        "denied": denied,
        "until": float(hold.until_ms) if hold else None,
        "extension_status": "NOT_APPLICABLE",
        "request_date": asking.vendor.now_text(),
        "ProductType": "Diamond",
        "diamond": _nodes(asking.vendor.hold_batch(hold, session))[0] if hold else None,
    }


def _create_order(root: object, info: Info, items: list[dict[str, Any]]) -> str:
    asking = _asking(info)
    asking.began("create_order")
    session = asking.session(root)
    try:
        order = asking.vendor.create_order(session, items)
    except Refused as refused:
        raise GraphQLError(str(refused)) from refused
    asking.mutated = True
    return order


def _item_field(root: Node, info: Info, **_: Any) -> Any:
    name = f"{info.parent_type.name}.{info.field_name}"
    if name not in root.columns:
        root.columns[name] = OBJECTS[name][1](root.batch) if name in OBJECTS else LEAVES[name](root.batch)
    value = root.columns[name][root.position]
    if name in OBJECTS:
        return root if value else None
    return _clean(root, info.field_name, value) if info.parent_type.name == "Certificate" else value


def _clean(node: Node, name: str, value: Any) -> Any:
    """The value, unless the vendor's enums choke on it. Raises GraphQLError then."""
    if value is None or name not in DIRTY_ENUMS:
        return value
    if "dirty" not in node.columns:
        node.columns["dirty"] = node.batch.affects("dirty_enums", node.batch.rows).tolist()
    if node.columns["dirty"][node.position]:
        raise GraphQLError(f'Enum "{DIRTY_ENUMS[name]}" cannot represent value: "{value}?"')
    return value


_ROOTS: Final = {
    "Query": {
        "as": _wrapped,
        "b2c_key": _wrapped,
        "authenticate": _authenticate,
        "diamonds_by_query": _diamonds_by_query,
        "diamonds_by_query_count": _diamonds_by_query_count,
        "get_diamond_by_id": _get_diamond_by_id,
    },
    "Mutation": {
        "as": _wrapped,
        "create_hold": _create_hold,
        "cancel_hold": _cancel_hold,
        "create_order": _create_order,
    },
    "Authenticate": {
        "username_and_password": _username_and_password,
        "username_and_token": _renewed,
        "refresh_token": _renewed,
    },
}


def executable_schema() -> GraphQLSchema:
    """The schema with its resolvers. Enums let any text out, as the vendor does, and only known words in."""
    schema = build_schema(SDL)
    for graphql_type in schema.type_map.values():
        if isinstance(graphql_type, GraphQLEnumType) and not graphql_type.name.startswith("__"):
            cast(Any, graphql_type).coerce_output_value = lambda value: value
        if isinstance(graphql_type, GraphQLObjectType):
            _bind(graphql_type)
    return schema


def _bind(graphql_type: GraphQLObjectType) -> None:
    for name, definition in graphql_type.fields.items():
        full = f"{graphql_type.name}.{name}"
        if full in LEAVES or full in OBJECTS:
            definition.resolve = _item_field
        elif graphql_type.name in _ROOTS:
            definition.resolve = _ROOTS[graphql_type.name][name]
