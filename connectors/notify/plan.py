"""Who is told of what, over which channels, in which order: a YAML file that holds secrets and is mounted as one.

channels:
  oncall: {type: pagerduty, routing_key: ...}
  chat: {type: slack, url: https://hooks.slack.com/...}
  mail: {type: smtp, host: mail.example, sender: adamas@example, to: [ops@example]}
severities:
  critical: [[oncall, mail], [chat]]   # two receivers; the first has a fall-back
  warning: [[chat, mail]]
kinds:
  RunCompleted: [[mail]]               # instead of its severity's
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors.notify.channels import Channel
from connectors.notify.notice import Notice
from schemas.errors import Invalid
from schemas.events import Kind, Severity
from schemas.wording import rule_of

Legs = tuple[tuple[str, ...], ...]
"""Receivers; each is a list of channels, tried in order until one takes the notice."""


class Plan(BaseModel):
    """The file. Without a route nobody is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    channels: dict[str, Channel] = Field(default_factory=dict)
    severities: dict[Severity, Legs] = Field(default_factory=dict)
    kinds: dict[Kind, Legs] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_channels(self) -> Self:
        routes = {
            **{str(key): legs for key, legs in self.severities.items()},
            **{str(key): legs for key, legs in self.kinds.items()},
        }
        for route, legs in routes.items():
            for name in (name for leg in legs for name in leg):
                if name not in self.channels:
                    raise ValueError(f"{route} names the channel {name}, which is not among the channels")
            if not all(legs):
                raise ValueError(f"{route} has a receiver without a channel")
        return self

    def legs(self, notice: Notice) -> Legs:
        """Whom a notice goes to."""
        return self.kinds.get(notice.kind, self.severities.get(notice.severity, ()))


def read_plan(file: Path | None) -> Plan:
    """The plan of a file; without a file nobody is told.

    Raises:
        Invalid: it cannot be read, or says what cannot be; names the place.
    """
    if file is None:
        return Plan()
    try:
        return Plan.model_validate(yaml.safe_load(file.read_text()) or {})
    except OSError as error:
        raise Invalid(str(file), f"cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise Invalid(str(file), "is not YAML") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or str(file)
        raise Invalid(place, rule_of(first)) from error
