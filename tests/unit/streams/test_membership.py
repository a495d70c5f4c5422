"""A worker that cannot learn where the former owner's records end must not begin."""

from __future__ import annotations

import pytest

from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from streams import membership
from streams.delivery import TopicNames
from streams.membership import Membership

NOBODY = KafkaSettings(bootstrap="127.0.0.1:1")


def test_an_unknown_end_is_an_error_and_not_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "_ASK_TIMEOUT_S", 0.3)
    with pytest.raises(Retriable, match=r"does not tell the end of diamonds\.canonical 0"):
        Membership(NOBODY, "group", TopicNames()).begin_anew([0])
