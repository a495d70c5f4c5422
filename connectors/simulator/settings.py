"""What a simulator is started with. Everything that changes while it runs goes through its own door (`/_sim/...`)."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from runtime.settings import Group, Port


class SimulatorSettings(Group):
    """Where the simulated vendor listens, what it stocks and how strict it is."""

    model_config = SettingsConfigDict(env_prefix="ADAMAS_SIM_")

    host: str = "127.0.0.1"
    port: Port = 4000
    stones: int = Field(default=20_000, ge=0, le=3_000_000)
    """Stones over both Nivoda feeds, about a third of them natural."""
    demo_stones: int = Field(default=0, ge=0, le=200_000)
    """Stones of the second, REST-shaped vendor."""
    seed: int = Field(default=1, ge=0)
    scenario: str | None = None
    """A name in `scenarios/`, or the path of a YAML file."""
    bad_share: float = Field(default=0.003, ge=0, le=1)
    """Share of stones that are planted so broken that they cannot be understood."""
    huge_comments: bool = True
    """Whether one stone in 20 000 carries 2 MB of comment."""
    unavailable_share: float = Field(default=0.0, ge=0, le=1)
    """Share of stones that start held, on memo or sold."""
    username: str = "demo@adamas.test"
    password: SecretStr = SecretStr("demo-vendor-password")
    token_life_s: float = Field(default=6 * 3600, gt=0)
    requests_per_s: int = Field(default=25, ge=1)
    """What the vendor allows one credential in any sliding second."""
    violation_answer: Literal["none", "429", "403_html"] = "429"
    """How a request over the limit is answered, once there were more than `violations_allowed`."""
    violations_allowed: int = Field(default=10, ge=0)
    ban_s: float = Field(default=10, ge=0)
    """How long every request is refused after a 403 for too much traffic."""
    hold_life_s: float = Field(default=24 * 3600, gt=0)
