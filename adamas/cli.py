"""The `adamas` command. Every command imports what it needs when it runs, so that `adamas --help` answers at once."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from runtime.settings import (
    EXIT_BAD_SETTINGS,
    ApiSettings,
    BadSettings,
    DataSettings,
    DemoSettings,
    FeedsSettings,
    GatewayClientSettings,
    GatewaySettings,
    Group,
    HealthSettings,
    IngestSettings,
    KafkaSettings,
    LogSettings,
    MonitorSettings,
    PostgresSettings,
    PricingSettings,
    Settings,
    TelemetrySettings,
    VendorSettings,
    load_settings,
)

app = typer.Typer(
    help="Streams a diamond vendor's inventory into a shop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMON: tuple[type[Group], ...] = (LogSettings, TelemetrySettings, DataSettings)

_NOT_WANTED: Final = ("rich", "pydantic.v1")
"""What libraries load where it is there, a tenth of a second, and no process needs: colors in tracebacks, old models."""


@dataclass(frozen=True)
class Entry:
    """A long-running process: `module:run(settings)` and the settings it needs.

    A module may name further groups in a tuple `SETTINGS`.
    """

    module: str
    groups: tuple[type[Group], ...]


INGEST = Entry(
    "connectors.ingest.service",
    (
        *(KafkaSettings, PostgresSettings, HealthSettings, IngestSettings, GatewaySettings),
        *(FeedsSettings, VendorSettings, DemoSettings),
    ),
)
PROCESS = Entry("streams.process", (KafkaSettings, PostgresSettings, HealthSettings))
SINK = Entry("connectors.postgres.sink", (KafkaSettings, PostgresSettings, HealthSettings))
API = Entry(
    "api.server",
    (
        *(KafkaSettings, PostgresSettings, GatewayClientSettings, IngestSettings),
        *(FeedsSettings, ApiSettings, PricingSettings),
    ),
)
MONITOR = Entry("monitor.service", (KafkaSettings, PostgresSettings, FeedsSettings, MonitorSettings))


@app.command()
def ingest() -> None:
    """Read the vendor within its budget into the raw log."""
    _serve("ingest", INGEST)


@app.command()
def process() -> None:
    """Understand and price each stone of the raw log."""
    _serve("process", PROCESS)


@app.command()
def sink() -> None:
    """Write canonical stones to Postgres."""
    _serve("sink", SINK)


@app.command()
def api() -> None:
    """Answer storefronts from memory."""
    _serve("api", API)


@app.command()
def monitor() -> None:
    """Watch lag, freshness and health; tell people; serve the board."""
    _serve("monitor", MONITOR)


@app.command()
def simulate(
    scenario: Annotated[
        str | None, typer.Option(help="Faults and life over time: a name, or the path of a YAML file.")
    ] = None,
) -> None:
    """Serve a simulated vendor (settings: ADAMAS_SIM_*)."""
    from connectors.simulator.server import run
    from connectors.simulator.settings import SimulatorSettings

    simulator = _prepared("simulator", (SimulatorSettings,))[SimulatorSettings]
    if scenario is not None:
        simulator = simulator.model_copy(update={"scenario": scenario})
    _to_exit_code(lambda: run(simulator))


@app.command()
def up(
    stones: Annotated[int, typer.Option(help="Stones the simulated vendor has.")] = 20_000,
    seed: Annotated[int, typer.Option(help="What its stock is made from.")] = 7,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the kept data first.")] = False,
    port_base: Annotated[int, typer.Option(help="The API's port; all others are counted up from it.")] = 3000,
    api: Annotated[int, typer.Option(help="API replicas.")] = 1,
    process: Annotated[int, typer.Option(help="Process workers.")] = 1,
    data: Annotated[Path, typer.Option(help="Folder of everything kept.")] = Path(".adamas"),
) -> None:
    """Start everything here: Kafka, Postgres, a simulated vendor and all processes."""
    from adamas.stack import Options
    from adamas.up import run

    run(Options(stones, seed, fresh, port_base, api, process, data))


@app.command()
def migrate() -> None:
    """Bring the database's schema to the newest revision."""
    settings = _prepared("migrate", (PostgresSettings,))
    from migrations import runner

    _to_exit_code(lambda: runner.upgrade(settings.postgres.dsn.get_secret_value()))


@app.command("settings")
def show_settings() -> None:
    """Show the effective settings, secrets masked, and what is wrong with them."""
    problems: list[str] = []
    for group in Settings.ALL:
        try:
            shown = load_settings(group)[group].shown()
        except BadSettings as error:
            problems += error.problems
        else:
            for variable, value in shown.items():
                typer.echo(f"{variable}={value}")
    if problems:
        _refuse(problems)


@app.command()
def docs() -> None:
    """Write the pages of `docs/` and the files of `observability/` that are generated from code."""
    from migrations.page import sql_page
    from monitor.grafana import boards
    from monitor.prometheus import rules_file
    from schemas.export import documents, export

    written = export(Path("docs"), documents() | {"reference/sql.md": sql_page()})
    written += export(Path("observability"), {"prometheus/rules.yml": rules_file(), **boards()})
    for path in written:
        typer.echo(f"wrote {path}")


PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

SUB_COMMANDS: Mapping[str, tuple[str, str]] = {
    "rules": ("streams.rules.command", "Publish and list rule sets."),
    "runs": ("connectors.runs.command", "Show runs and their ledgers; start, cancel, retry, approve."),
    "keys": ("api.keys_command", "Create, list and revoke API keys."),
    "jobs": ("runtime.jobs_command", "Show and cancel long actions."),
    "alerts": ("monitor.alerts_command", "List events, and try whether people can be reached."),
    "errors": ("runtime.faults_command", "Show what went wrong in our own code, by kind."),
    "lag": ("monitor.lag_command", "Show where every reader of Kafka stands, live."),
    "dead": ("operating.dead_command", "Show, fix, redrive and drop what was refused."),
    "replay": (
        "operating.replay_command",
        "Read the log again, undo that, or see beforehand what it would change.",
    ),
    "raw": ("operating.raw_command", "Archive the raw log, and bring archived pages back."),
    "stores": ("operating.stores_command", "Compare Postgres, the canonical topic and the API's replicas."),
    "vendor": ("connectors.feeds.vendor_command", "Ask the vendor by way of ingest."),
}
"""Name to the module of a package's own typer app, and what it does."""


def _passing_on(name: str, module: str) -> Callable[[typer.Context], None]:
    def pass_on(context: typer.Context) -> None:
        _sub_command(module, f"adamas {name}", context.args)

    return pass_on


for _name, (_module, _help) in SUB_COMMANDS.items():
    app.command(_name, help=_help, context_settings=PASS_ON)(_passing_on(_name, _module))


@app.command(context_settings=PASS_ON)
def price(context: typer.Context) -> None:
    """Say why a stone costs what it costs, now or at a past time; `price export` writes the history as CSV."""
    if context.args[:1] == ["export"]:
        _sub_command("operating.price_export_command", "adamas price export", context.args[1:])
    else:
        _sub_command("operating.price_command", "adamas price", context.args)


def _sub_command(module: str, name: str, arguments: Sequence[str]) -> None:
    """A package's own typer app, imported only when it is asked for."""
    command = typer.main.get_command(import_module(module).app)
    # What a command prints may be read by a program: log lines go elsewhere, and only those that tell of trouble.
    _prepared(name.replace(" ", "-"), (), "WARNING")
    _to_exit_code(lambda: _answer(lambda: command(list(arguments), prog_name=name)))


def _answer(work: Callable[[], Any]) -> None:
    """Let a command speak to the person who gave it: what it raises on purpose is one sentence, not a log line."""
    from schemas.errors import AdamasError

    try:
        work()
    except BadSettings as error:
        _refuse(error.problems)
    except AdamasError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


def _serve(name: str, entry: Entry) -> None:
    """Run a process until it is told to stop; its end decides the exit code."""
    from runtime.heap import limit_arenas

    # Before any thread starts: one that runs for weeks would keep what each of its threads once needed.
    limit_arenas()
    # Modules are no garbage: to look for some while they are made, and ever again, takes time and finds nothing.
    gc.disable()
    with without(*_NOT_WANTED):
        module = import_module(entry.module)
        gc.freeze()
        gc.enable()
        settings = _prepared(name, (*entry.groups, *getattr(module, "SETTINGS", ())))
        from runtime import faults

        with faults.kept(settings.postgres.dsn.get_secret_value()):
            _to_exit_code(lambda: module.run(settings))


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Have these packages count as not installed, unless they are loaded."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _prepared(name: str, groups: Sequence[type[Group]], level: str = "INFO") -> Settings:
    """The settings, with logs and telemetry set up by them; `level` holds where they do not name one."""
    try:
        settings = load_settings(*dict.fromkeys((*COMMON, *groups)))
    except BadSettings as error:
        _refuse(error.problems)
    from runtime.logs import configure_logs
    from runtime.telemetry import configure_telemetry
    from runtime.version import VERSION

    log = (
        settings.log
        if "level" in settings.log.model_fields_set
        else settings.log.model_copy(update={"level": level})
    )
    configure_logs(log, name)
    configure_telemetry(settings.telemetry, name, VERSION)
    return settings


def _to_exit_code(work: Callable[[], Any]) -> None:
    """Let `work` end the process: 0 when it returns, 1 with one log line when it was told to stop, or a traceback."""
    import structlog

    from schemas.errors import AdamasError

    log = structlog.stdlib.get_logger(__name__)
    try:
        work()
    except AdamasError as error:
        log.error("process.failed", error=type(error).__name__, reason=str(error))
        sys.exit(1)
    except Exception:
        log.exception("process.crashed")
        sys.exit(1)


def _refuse(problems: Sequence[str]) -> NoReturn:
    typer.echo("These settings do not hold:", err=True)
    for problem in problems:
        typer.echo(f"  {problem}", err=True)
    sys.exit(EXIT_BAD_SETTINGS)


def main() -> None:
    """Entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
