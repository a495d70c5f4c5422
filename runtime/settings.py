"""Settings: small frozen groups, read from `ADAMAS_*` variables at entry points only.

An entry point asks for the groups it needs, and they are checked together:

    settings = load_settings(KafkaSettings, HealthSettings)
    settings.kafka.bootstrap

Another package adds a group by deriving from `Group`; it is then `settings[ThatGroup]`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.feeds import FEEDS, STANDARD
from schemas.wording import rule_of

PLACEHOLDERS = ("changeme", "not-configured")
EXIT_BAD_SETTINGS = 2

Port = Annotated[int, Field(ge=0, le=65535)]


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value


TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""Hours and minutes, as 02:00."""

HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Group(BaseSettings):
    """Settings that belong together. Its variables are `env_prefix` plus the field's name in capitals."""

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="forbid", hide_input_in_errors=True, env_prefix="ADAMAS_"
    )

    @field_validator("*", mode="after")
    @classmethod
    def _refuse_placeholders(cls, value: object) -> object:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and any(word in text.lower() for word in PLACEHOLDERS):
            raise ValueError("is still a placeholder")
        return value

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that sets a field."""
        return f"{cls.model_config.get('env_prefix', '')}{field}".upper()

    def shown(self) -> dict[str, str]:
        """Variable to effective value, secrets masked."""
        return {self.variable(field): _masked(getattr(self, field)) for field in type(self).model_fields}


def _masked(value: object) -> str:
    if isinstance(value, SecretStr):
        return "********"
    return "(not set)" if value is None else str(value)


class KafkaSettings(Group):
    """Where Kafka is: `host:port`, several with commas."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_KAFKA_")
    bootstrap: str


class PostgresSettings(Group):
    """Where Postgres is; the DSN carries the password and is therefore secret."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_POSTGRES_")
    dsn: SecretStr

    @field_validator("dsn")
    @classmethod
    def _is_postgres(cls, dsn: SecretStr) -> SecretStr:
        if not dsn.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return dsn


class VendorSettings(Group):
    """The vendor's GraphQL endpoint and what it allows us: 25 requests in any second, all classes counted.

    The last three are what `adamas vendor probe` finds out.
    """

    model_config = SettingsConfigDict(env_prefix="ADAMAS_VENDOR_")
    url: HttpUrl
    username: str
    password: SecretStr
    requests_per_second: int = Field(default=25, ge=1, le=25)
    money_unit: Literal["probe", "dollars", "cents"] = "probe"
    money_ranges: Literal["probe", "whole", "exact"] = "probe"
    """Whether a stone of 199.50 is in [100, 199] (whole) or not (exact)."""
    offset_cap: int = Field(default=50_000, ge=1_000)


class IngestSettings(Group):
    """How ingest goes about its runs: when, how often, how much it may retire unasked."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_INGEST_")
    full_sweep_at: TimeOfDay = "02:00"
    """UTC, every day."""
    incremental_every_s: float = Field(default=60, gt=0)
    overlap_s: float = Field(default=900, ge=0)
    """How far before the watermark an incremental run begins, by the vendor's clock."""
    patience_s: float = Field(default=900, gt=0)
    """A page that cannot be read for so long ends a run's attempt; a run that stands still for so long is stuck."""
    count_off_percent: float = Field(default=1, ge=0)
    """A vendor's count further off than this is a second pass, then an amber ledger."""
    retire_unasked_percent: float = Field(default=5, ge=0, le=100)
    """A sweep that would retire more of a feed than this waits for an approval."""


class DemoSettings(Group):
    """The second vendor, REST-shaped: where it is and our key. It is read only where `ADAMAS_FEEDS_READ` names it."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_DEMO_")
    url: HttpUrl | None = None
    key: SecretStr | None = None
    requests_per_second: int = Field(default=25, ge=1, le=25)


class FeedsSettings(Group):
    """Which feeds this installation reads, with commas; the age of the data is that of the oldest of them."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_FEEDS_")
    read: str = ",".join(STANDARD)

    @field_validator("read")
    @classmethod
    def _are_known(cls, read: str) -> str:
        unknown = [name for name in read.split(",") if name not in FEEDS]
        if unknown:
            raise ValueError(f"knows no feed {unknown[0]!r}; there are {', '.join(FEEDS)}")
        return read

    @property
    def names(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(self.read.split(",")))


class ApiSettings(Group):
    """Where the API listens."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_API_")
    host: str = "127.0.0.1"
    port: Port = 3000


class PricingSettings(Group):
    """What a publish may do to prices without a reason, in basis points; and where exchange rates come from."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_PRICING_")
    min_margin_bps: int = Field(default=0, ge=-9_999, le=1_000_000)
    max_move_bps: int = Field(default=5_000, ge=0)
    max_changed_bps: int = Field(default=5_000, ge=0, le=10_000)
    rates_url: HttpUrl | None = None


class HealthSettings(Group):
    """Where a process without an API of its own serves `/health/*` and `/metrics`; port 0 takes a free one."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_HEALTH_")
    host: str = "127.0.0.1"
    port: Port = 9464


class MonitorSettings(Group):
    """Where `monitor` serves the board, and whose `/metrics` it reads: `name=base URL`, several with commas."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_MONITOR_")
    host: str = "127.0.0.1"
    port: Port = 3016
    members: str = ""
    cluster: str = "adamas"
    api_key: SecretStr | None = None
    """Of the scope `operate`, for comparing the API's replicas with the other stores; without it they are left out."""
    compare_at: TimeOfDay = "04:30"
    """UTC, every day: when the stores are compared."""

    @field_validator("members")
    @classmethod
    def _name_urls(cls, members: str) -> str:
        for member in filter(None, members.split(",")):
            name, _, url = member.partition("=")
            if not name or not url:
                raise ValueError("must be name=URL, several with commas")
            _http_url(url)
        return members

    @property
    def member_urls(self) -> dict[str, str]:
        """Base URL of each process by its name."""
        pairs = (member.partition("=") for member in self.members.split(",") if member)
        return {name: url.rstrip("/") for name, _, url in pairs}

    @property
    def replica_urls(self) -> dict[str, str]:
        """Those of the API's replicas."""
        return {name: url for name, url in self.member_urls.items() if name.partition("-")[0] == "api"}

    @property
    def api_key_text(self) -> str | None:
        """The key, to be sent."""
        return None if self.api_key is None else self.api_key.get_secret_value()


class GatewaySettings(Group):
    """Where `ingest` serves its gateway, inside only, and the service tokens it takes: two while one is replaced."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_GATEWAY_")
    host: str = "127.0.0.1"
    port: Port = 9465
    token: SecretStr = Field(min_length=16)
    former_token: SecretStr | None = Field(default=None, min_length=16)

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """Those that are valid now."""
        return tuple(
            token.get_secret_value().encode()
            for token in (self.token, self.former_token)
            if token is not None
        )


class GatewayClientSettings(Group):
    """Where the gateway is and the service token for it."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_GATEWAY_")
    url: HttpUrl
    token: SecretStr = Field(min_length=16)


class NotifySettings(Group):
    """The file that says who is told of what, over which channels; without one nobody is."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_NOTIFY_")
    file: Path | None = None


class LogSettings(Group):
    """`auto` writes for people on a terminal and JSON lines everywhere else."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_LOG_")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "console"] = "auto"

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level


class TelemetrySettings(Group):
    """Traces leave the process only when an OTLP/HTTP endpoint is named."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_OTLP_")
    endpoint: HttpUrl | None = None
    sampled_share: float = Field(default=0.1, ge=0, le=1)


class DataSettings(Group):
    """The folder for everything the embedded servers and the processes keep on disk."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_DATA_")
    dir: Path = Path(".adamas")
    archive: Path | None = None

    @property
    def archive_folder(self) -> Path:
        """Where the raw log is archived: `archive`, or a folder in `dir`."""
        return self.archive or self.dir / "archive"


class BadSettings(Exception):
    """Settings that do not hold; the message has one line for each. Entry points exit with 2."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


GroupT = TypeVar("GroupT", bound=Group)


class Settings:
    """The groups one process asked for. Asking for another one is a programming error (`LookupError`)."""

    ALL: ClassVar[tuple[type[Group], ...]] = (
        KafkaSettings,
        PostgresSettings,
        VendorSettings,
        FeedsSettings,
        DemoSettings,
        IngestSettings,
        ApiSettings,
        PricingSettings,
        HealthSettings,
        GatewaySettings,
        GatewayClientSettings,
        MonitorSettings,
        NotifySettings,
        LogSettings,
        TelemetrySettings,
        DataSettings,
    )

    def __init__(self, *groups: Group) -> None:
        self._groups: dict[type[Group], Group] = {type(group): group for group in groups}

    def __getitem__(self, group: type[GroupT]) -> GroupT:
        if group not in self._groups:
            raise LookupError(f"this process did not load {group.__name__}")
        return cast(GroupT, self._groups[group])

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def with_groups(self, *groups: Group) -> Self:
        """The same settings with groups added or replaced."""
        return type(self)(*(self._groups | {type(group): group for group in groups}).values())

    @property
    def kafka(self) -> KafkaSettings:
        """Where Kafka is."""
        return self[KafkaSettings]

    @property
    def postgres(self) -> PostgresSettings:
        """Where Postgres is."""
        return self[PostgresSettings]

    @property
    def vendor(self) -> VendorSettings:
        """Where the vendor is and what it allows."""
        return self[VendorSettings]

    @property
    def ingest(self) -> IngestSettings:
        """How ingest goes about its runs."""
        return self[IngestSettings]

    @property
    def api(self) -> ApiSettings:
        """Where the API listens."""
        return self[ApiSettings]

    @property
    def pricing(self) -> PricingSettings:
        """What a publish may do, and where rates come from."""
        return self[PricingSettings]

    @property
    def health(self) -> HealthSettings:
        """Where health and metrics are served."""
        return self[HealthSettings]

    @property
    def gateway(self) -> GatewaySettings:
        """Where the gateway is served."""
        return self[GatewaySettings]

    @property
    def monitor(self) -> MonitorSettings:
        """Where the board is served and what it watches."""
        return self[MonitorSettings]

    @property
    def notify(self) -> NotifySettings:
        """Who is told."""
        return self[NotifySettings]

    @property
    def log(self) -> LogSettings:
        """How log lines are written."""
        return self[LogSettings]

    @property
    def telemetry(self) -> TelemetrySettings:
        """Where traces go."""
        return self[TelemetrySettings]

    @property
    def data(self) -> DataSettings:
        """Where files are kept."""
        return self[DataSettings]


def load_settings(*groups: type[Group]) -> Settings:
    """Read the groups from the environment.

    Raises:
        BadSettings: with every bad variable of every group, so that one start shows them all.
    """
    loaded: list[Group] = []
    problems: list[str] = []
    for group in groups:
        try:
            loaded.append(group())
        except ValidationError as error:
            problems += [_problem(group, cast(dict[str, Any], detail)) for detail in error.errors()]
    if problems:
        raise BadSettings(problems)
    return Settings(*loaded)


def _problem(group: type[Group], detail: dict[str, Any]) -> str:
    variable = group.variable(str(detail["loc"][0])) if detail["loc"] else group.__name__
    if detail["type"] == "missing":
        return f"{variable} is not set ({(group.__doc__ or '').splitlines()[0].rstrip('.')})"
    return f"{variable}: {rule_of(detail)}"
