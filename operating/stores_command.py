"""`adamas stores`: hold Postgres, the compacted topic and the API replicas beside one another."""

from __future__ import annotations

import getpass
import json
import sys

import typer

from operating import stores
from runtime.commands import do_job, with_database
from runtime.jobs import Job, State
from runtime.postgres import Database
from runtime.settings import KafkaSettings, MonitorSettings, load_settings

app = typer.Typer(
    help="Compare Postgres, the canonical topic and the API's replicas.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _is_a_group() -> None:
    """Compare Postgres, the canonical topic and the API's replicas."""


@app.command()
def compare() -> None:
    """Compare them now, by sums; stones that are not the same everywhere are named.

    Which replicas there are and the key for them stand in ADAMAS_MONITOR_MEMBERS and ADAMAS_MONITOR_API_KEY, as for the
    monitor, which does the same every night.
    """
    settings = load_settings(KafkaSettings, MonitorSettings)

    async def run(database: Database) -> Job:
        handler = stores.handler(
            database, settings.kafka, settings.monitor.replica_urls, settings.monitor.api_key_text
        )
        return await do_job(database, lambda link: stores.ask_for(link, getpass.getuser()), handler)

    job = with_database(run)
    if job.state is not State.DONE or job.result is None:
        typer.echo(job.failure or f"the comparison is {job.state}", err=True)
        sys.exit(1)
    typer.echo(json.dumps(job.result, indent=2))
    if job.result["agree"] is False:
        sys.exit(1)
