"""A notice: one event in one phase, in words for a person and as data for a program."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.events import KINDS, Kind, Severity


class Phase(StrEnum):
    """Whether the event began or is over."""

    RAISED = "raised"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told.

    Attributes:
        event_id: of the event; with the phase it tells two tellings of the same apart.
        at: when the phase began.
    """

    event_id: int
    phase: Phase
    severity: Severity
    kind: Kind
    subject: str
    text: str
    at: datetime

    @property
    def key(self) -> str:
        """The event's identity for receivers that put its phases together."""
        return f"adamas-{self.event_id}"

    @property
    def runbook(self) -> str:
        """The page that says what to do, from the top of the repository."""
        return f"docs/runbooks/{self.kind}.md"

    @property
    def title(self) -> str:
        """One line."""
        word = "over" if self.phase is Phase.RESOLVED else self.severity.value
        return f"[{word}] {self.kind}: {self.subject}"

    @property
    def words(self) -> str:
        """A few lines."""
        lines = [
            f"{self.subject}: {self.text}",
            KINDS[self.kind].meaning,
            f"Since {self.at:%Y-%m-%d %H:%M:%S} UTC.",
        ]
        if self.phase is Phase.RESOLVED:
            lines = [
                f"{self.subject}: it is over.",
                f"It was: {self.text}",
                f"Over at {self.at:%Y-%m-%d %H:%M:%S} UTC.",
            ]
        return "\n".join([*lines, f"What to do: {self.runbook}"])

    def as_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "event": self.event_id,
            "phase": self.phase,
            "severity": self.severity,
            "kind": self.kind,
            "subject": self.subject,
            "text": self.text,
            "at": self.at.isoformat(timespec="milliseconds"),
            "runbook": self.runbook,
        }
