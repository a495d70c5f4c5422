"""From a GraphQL request to its reply: parsed and checked once per text, and pages answered column by column.

Plain execution of a page visits some 3 500 values one by one and takes tens of milliseconds. A document made only of
`diamonds_by_query` and `diamonds_by_query_count` with plain fields is answered from whole columns instead; both ways
read the same table of fields (`leaves.py`) and give equal replies, which a test compares.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    execute_sync,
    parse,
    validate,
)
from graphql.execution import get_argument_values, get_variable_values
from graphql.execution.values import VariableValues
from graphql.utilities import get_operation_ast

from .batch import Batch
from .leaves import LEAVES, OBJECTS
from .resolve import Asking, count_of, executable_schema, page_of

_KEPT_DOCUMENTS: Final = 256
_SCHEMA: Final = executable_schema()
_QUERY: Final = _SCHEMA.query_type
_BY_COLUMNS: Final = ("diamonds_by_query", "diamonds_by_query_count")
_ITEM_BY_ITEM: Final = ("dirty_enums", "partial_data_with_errors")
"""Faults that put entries into `errors` for single items; plain execution places them."""

_UNKNOWN_FIELD: Final = re.compile(r"of type '(?P<type>\w+)' not to include unknown field '(?P<field>\w+)'")

Columns = tuple[tuple[str, str, "Columns | None"], ...]
"""What to render of an object: reply key, `Type.field`, and the same for an object's fields."""


@dataclass(frozen=True)
class Reply:
    """A GraphQL reply and the status it goes with."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class _Document:
    ast: DocumentNode | None
    errors: tuple[GraphQLError, ...]
    status: int


class Executor:
    """Answers GraphQL requests. Keeps the documents it has checked."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, _Document] = OrderedDict()

    def answer(
        self,
        asking: Asking,
        text: str,
        variables: dict[str, Any],
        operation_name: str | None,
        by_columns: bool = True,
    ) -> Reply:
        """Answer one request; `by_columns=False` forces plain execution."""
        document = self._document(text)
        if document.ast is None or document.errors:
            return _refusal(document.errors, document.status)
        operation = get_operation_ast(document.ast, operation_name)
        if operation is None:
            return _refusal([GraphQLError("Must provide operation name.")], 400)
        coerced = get_variable_values(_SCHEMA, operation.variable_definitions or (), variables)
        if isinstance(coerced, list):
            return _refusal(coerced, 200 if all(map(_names_unknown_field, coerced)) else 400)
        itemised = any(asking.vendor.faults.on(name) for name in _ITEM_BY_ITEM)
        if by_columns and not itemised and _is_plain(operation):
            return _by_columns(asking, operation, coerced)
        result = execute_sync(
            _SCHEMA,
            document.ast,
            context_value=asking,
            variable_values=variables,
            operation_name=operation_name,
        )
        return _reply(result.data, result.errors or [])

    def roots(self, text: str) -> frozenset[str]:
        """The root fields of a request, those inside `as` and `authenticate` included; empty for a broken one."""
        document = self._document(text)
        if document.ast is None:
            return frozenset()
        operations = [node for node in document.ast.definitions if isinstance(node, OperationDefinitionNode)]
        return frozenset(name for operation in operations for name in _field_names(operation.selection_set))

    def _document(self, text: str) -> _Document:
        if text in self._documents:
            self._documents.move_to_end(text)
            return self._documents[text]
        document = self._documents[text] = _checked(text)
        if len(self._documents) > _KEPT_DOCUMENTS:
            self._documents.popitem(last=False)
        return document


def _checked(text: str) -> _Document:
    try:
        ast = parse(text)
    except GraphQLSyntaxError as error:
        return _Document(None, (error,), 400)
    return _Document(ast, tuple(validate(_SCHEMA, ast)), 200)


def _field_names(selection: SelectionSetNode) -> list[str]:
    names: list[str] = []
    for node in selection.selections:
        if isinstance(node, FieldNode):
            names.append(node.name.value)
            if node.name.value in ("as", "b2c_key") and node.selection_set:
                names += _field_names(node.selection_set)
    return names


def _is_plain(operation: OperationDefinitionNode) -> bool:
    """Whether only counts and pages are asked for, with plain fields."""
    if operation.operation is not OperationType.QUERY or operation.directives:
        return False
    return all(_is_plain_root(node) for node in operation.selection_set.selections)


def _is_plain_root(node: object) -> bool:
    if not isinstance(node, FieldNode) or node.directives:
        return False
    inside = node.selection_set.selections if node.selection_set else ()
    if node.name.value == "as":
        return all(_is_plain_root(child) for child in inside)
    return node.name.value in _BY_COLUMNS and all(map(_is_plain_field, inside)) and _unique(node)


def _is_plain_field(node: object) -> bool:
    if not isinstance(node, FieldNode) or node.directives or node.name.value.startswith("__"):
        return False
    inside = node.selection_set.selections if node.selection_set else ()
    return all(map(_is_plain_field, inside)) and _unique(node)


def _unique(node: FieldNode) -> bool:
    """Fields of one name are merged by plain execution; here they must not occur."""
    inside = node.selection_set.selections if node.selection_set else ()
    keys = [_key(child) for child in inside if isinstance(child, FieldNode)]
    return len(keys) == len(set(keys))


def _key(node: FieldNode) -> str:
    return node.alias.value if node.alias else node.name.value


def _by_columns(asking: Asking, operation: OperationDefinitionNode, variables: VariableValues) -> Reply:
    errors: list[GraphQLError] = []
    data = _roots(asking, None, operation.selection_set, variables, (), errors)
    return _reply(data, errors)


def _roots(
    asking: Asking,
    root: object,
    selection: SelectionSetNode,
    variables: VariableValues,
    path: tuple[str, ...],
    errors: list[GraphQLError],
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for node in selection.selections:
        assert isinstance(node, FieldNode)
        here = (*path, _key(node))
        try:
            data[here[-1]] = _root(asking, root, node, variables, here, errors)
        except GraphQLError as error:
            data[here[-1]] = None
            errors.append(
                GraphQLError(str(error.message), nodes=[node], path=list(here), extensions=error.extensions)
            )
    return data


def _root(
    asking: Asking,
    root: object,
    node: FieldNode,
    variables: VariableValues,
    path: tuple[str, ...],
    errors: list[GraphQLError],
) -> Any:
    assert _QUERY is not None
    arguments = get_argument_values(_QUERY.fields[node.name.value], node, variables)
    if node.name.value == "diamonds_by_query_count":
        return count_of(asking, root, arguments)
    assert node.selection_set is not None
    if node.name.value == "as":
        session = asking.check(arguments.get("token"))
        return _roots(asking, session, node.selection_set, variables, path, errors)
    page = page_of(asking, root, arguments)
    return {
        _key(child): _items(page.batch, child, page.null_members)
        if child.selection_set
        else len(page.batch.rows)
        for child in node.selection_set.selections
        if isinstance(child, FieldNode)
    }


def _items(batch: Batch, node: FieldNode, null_members: frozenset[int]) -> list[dict[str, Any] | None]:
    assert node.selection_set is not None
    items: list[dict[str, Any] | None] = list(_objects(batch, _columns("DiamondItem", node.selection_set)))
    for position in null_members:
        items[position] = None
    return items


def _columns(type_name: str, selection: SelectionSetNode) -> Columns:
    columns = []
    for node in selection.selections:
        assert isinstance(node, FieldNode)
        name = f"{type_name}.{node.name.value}"
        inner = OBJECTS.get(name)
        nested = _columns(inner[0], node.selection_set) if inner and node.selection_set else None
        columns.append((_key(node), name, nested))
    return tuple(columns)


def _objects(batch: Batch, columns: Columns) -> list[dict[str, Any]]:
    keys = [key for key, _, _ in columns]
    values = [_values(batch, name, nested) for _, name, nested in columns]
    return [dict(zip(keys, row, strict=True)) for row in zip(*values, strict=True)]


def _values(batch: Batch, name: str, nested: Columns | None) -> list[Any]:
    if nested is None:
        return LEAVES[name](batch)
    present = OBJECTS[name][1](batch)
    return [value if there else None for value, there in zip(_objects(batch, nested), present, strict=True)]


def _reply(data: dict[str, Any] | None, errors: list[GraphQLError]) -> Reply:
    body: dict[str, Any] = {"errors": [_entry(error) for error in errors]} if errors else {}
    return Reply(200, body | {"data": data})


def _refusal(errors: list[GraphQLError] | tuple[GraphQLError, ...], status: int) -> Reply:
    return Reply(status, {"errors": [_entry(error) for error in errors]})


def _entry(error: GraphQLError) -> dict[str, Any]:
    return {**error.formatted, "message": _vendors_words(error.message)}


def _vendors_words(message: str) -> str:
    """The vendor's GraphQL library is an older one: it names an unknown field in its own way, in double quotes."""
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown:
        return f'Field "{unknown["field"]}" is not defined by type {unknown["type"]}.'
    return re.sub(r"'([^'\s]*)'", r'"\1"', message)


def _names_unknown_field(error: GraphQLError) -> bool:
    return _UNKNOWN_FIELD.search(error.message) is not None
