"""The file of channels: what it may say, and that its mistakes are named."""

from pathlib import Path

import pytest

from connectors.notify.plan import read_plan
from schemas.errors import Invalid

GOOD = """
channels:
  chat: {type: slack, url: https://hooks.example/x}
  mail: {type: smtp, host: mail.example, sender: a@x, to: [b@x], password: secret-word}
severities: {critical: [[chat, mail]]}
kinds: {RunCompleted: [[mail]]}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "notify.yaml"
    file.write_text(text)
    return file


def test_a_good_file(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, GOOD))
    assert set(plan.channels) == {"chat", "mail"}
    assert "secret-word" not in repr(plan)


def test_without_a_file_nobody_is_told() -> None:
    assert not read_plan(None).channels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("[chat, mail]", "[chat, pager]"), "pager"),
        (GOOD.replace("slack", "pigeon"), "pigeon"),
        (GOOD.replace("critical", "urgent"), "urgent"),
        (GOOD.replace("to: [b@x]", "to: []"), "to"),
        (GOOD.replace("RunCompleted", "RunDone"), "RunDone"),
        ("channels: [", "not YAML"),
    ],
)
def test_mistakes_are_named_and_secrets_are_not(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        read_plan(written(tmp_path, text))
    assert "secret-word" not in str(refusal.value)
