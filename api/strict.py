"""What every route behind the router holds its callers to before it looks at anything: a slip is told, never passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import AfterValidator

from api.problems import BadParameter
from api.vocabulary import nearest, shown

_NUL: Final = "must not hold the character NUL"
_YEARS: Final = range(1970, 9999)


async def strict(request: Request) -> None:
    """Refuse parameters that the route does not know, those given twice, and texts that Postgres cannot hold.

    A route that documents its query string itself reads it itself, as strictly.

    Raises:
        BadParameter: names the parameter and what is wrong with it.
    """
    route: Any = request.scope["route"]
    if not any(one["in"] == "query" for one in (route.openapi_extra or {}).get("parameters", ())):
        known, given = {field.alias for field in route.dependant.query_params}, set[str]()
        for name, _ in request.query_params.multi_items():
            if name not in known:
                raise BadParameter(shown(name), "is not a parameter here", nearest(name, known))
            if name in given:
                raise BadParameter(name, "is given twice")
            given.add(name)
    for name, text in (*request.path_params.items(), *request.query_params.items()):
        if "\0" in str(text):
            raise BadParameter(name, _NUL)
    if b"\\u0000" in await request.body():
        raise BadParameter("body", _NUL)


def _within_reach(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"must lie in the years {_YEARS.start} to {_YEARS.stop - 1}")
    return moment


Moment = Annotated[datetime, AfterValidator(_within_reach)]
"""A time that every store can hold, in whatever zone it is told."""
