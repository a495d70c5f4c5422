"""`adamas raw`: keep the raw log in files beyond its fourteen days, and bring pages back."""

from __future__ import annotations

from typing import Annotated

import typer

from operating.archive import Folder, archive, restore
from runtime.settings import DataSettings, KafkaSettings, load_settings

app = typer.Typer(
    help="Keep the raw log in files beyond its fourteen days, and bring pages back.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("archive")
def archive_() -> None:
    """Archive what the log holds and the files do not; to be run daily."""
    settings = load_settings(KafkaSettings, DataSettings)
    new = False
    for kept in archive(settings.kafka, Folder(settings.data.archive_folder)):
        if kept.begin < kept.end or kept.missed:
            new = True
            lost = f"; {kept.missed} records before them were gone already" if kept.missed else ""
            typer.echo(f"partition {kept.slot}: offsets {kept.begin} to {kept.end - 1}{lost}")
    if not new:
        typer.echo("the files have everything already")


@app.command("restore")
def restore_(
    feed: Annotated[str, typer.Option(help="Whose pages.")],
    from_: Annotated[int, typer.Option("--from", help="The first offset.")],
    to: Annotated[int, typer.Option(help="The first offset no more.")],
) -> None:
    """Append archived pages to the log again; nothing changes by it until they are replayed."""
    settings = load_settings(KafkaSettings, DataSettings)
    places = restore(settings.kafka, Folder(settings.data.archive_folder), feed, from_, to)
    typer.echo(
        f"{len(places)} records, now at offsets {places[0][1]} to {places[-1][1]} of partition {places[0][0]}"
    )
