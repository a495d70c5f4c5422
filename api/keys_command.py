"""`adamas keys`: create, list and revoke API keys."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from api.keys import ALL_SCOPES, Scope, create_key, list_keys, revoke_key
from runtime.settings import PostgresSettings, load_settings

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="The key's name: the actor of whatever it does.")]


@app.command()
def create(
    name: Name,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(ALL_SCOPES)}; may be given several times.")
    ] = None,
) -> None:
    """Make a key and print it, this once."""
    key = create_key(_dsn(), name, scope or [Scope.READ_DIAMONDS], getpass.getuser())
    typer.echo(key)


@app.command("list")
def list_() -> None:
    """Every key, revoked ones too."""
    for key in list_keys(_dsn()):
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "active"
        typer.echo(
            f"{key.name:24} {state:18} {','.join(key.scopes)}  by {key.created_by} {key.created_at:%Y-%m-%d}"
        )


@app.command()
def revoke(name: Name) -> None:
    """End a key."""
    revoke_key(_dsn(), name, getpass.getuser())
    typer.echo(f"{name} is revoked")


def _dsn() -> str:
    return load_settings(PostgresSettings).postgres.dsn.get_secret_value()
