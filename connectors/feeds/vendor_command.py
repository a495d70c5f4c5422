"""`adamas vendor …`: what an operator asks the vendor by way of `ingest`, within the one budget."""

from __future__ import annotations

from typing import Annotated, Final

import httpx
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from runtime.settings import GatewayClientSettings, load_settings
from schemas.errors import Retriable
from schemas.feeds import NIVODA_NATURAL
from schemas.gateway import Finding, Refusal

app = typer.Typer(
    help="Ask the vendor by way of ingest, within the one budget.", no_args_is_help=True, add_completion=False
)

_TIMEOUT_S: Final = 120.0


@app.callback()
def vendor() -> None:
    """Ask the vendor by way of ingest, within the one budget."""


@app.command()
def probe(feed: Annotated[str, typer.Option(help="A feed of the vendor.")] = NIVODA_NATURAL) -> None:
    """Find out what the vendor leaves unsaid: money unit, offset cap, what `labgrown` left out means."""
    settings = load_settings(GatewayClientSettings)[GatewayClientSettings]
    table = Table("switch", "what the vendor does", "what we go by")
    for finding in ask(settings, feed):
        table.add_row(finding.name, finding.found, finding.we_use)
    Console().print(table)


def ask(settings: GatewayClientSettings, feed: str) -> list[Finding]:
    """The findings, from the gateway.

    Raises:
        Retriable: `ingest` does not answer, or the vendor does not.
    """
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    try:
        reply = httpx.post(
            f"{settings.url}/v1/{feed}/probe", headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
    except httpx.HTTPError as error:
        raise Retriable(f"ingest does not answer at {settings.url} ({type(error).__name__})") from error
    if reply.status_code != httpx.codes.OK:
        refusal = msgspec.json.decode(reply.content, type=Refusal)
        raise Retriable(f"{refusal.error}: {refusal.detail}")
    return msgspec.json.decode(reply.content, type=list[Finding])
