"""Exceptions named by what happens next.

AdamasError
├── Invalid      the input is wrong: to the dead letters, the stream goes on
├── Retriable    the same call may succeed later: back off, try again
│   └── SlowDown the other side asked for a pause of `after_s` seconds
└── Fatal        going on would break a promise: stop the process
"""

from __future__ import annotations

from typing import Any


class AdamasError(Exception):
    """Root of everything this code raises on purpose."""


class Invalid(AdamasError):
    """An input breaks a rule.

    Args:
        field: path of the offending field, as its sender names it, e.g. `certificate.carats`.
        rule: the rule it breaks, in words a person can act on.
        code: short stable name of the kind of mistake; groups dead letters.
    """

    def __init__(self, field: str, rule: str, code: str = "invalid") -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule
        self.code = code
        self.more: dict[str, Any] = {}
        """What else an answer may say of it, by name."""


class Retriable(AdamasError):
    """The same call may succeed later."""


class SlowDown(Retriable):
    """The other side asked for a pause.

    Args:
        reason: who asked and why.
        after_s: seconds to wait before the next call.
    """

    def __init__(self, reason: str, after_s: float) -> None:
        super().__init__(f"{reason}; wait {after_s:g} s")
        self.after_s = after_s


class Fatal(AdamasError):
    """Going on would break a promise; the process stops with this message."""
