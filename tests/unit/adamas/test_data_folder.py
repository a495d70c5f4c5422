"""The data folder: one owner, room on the disk, forgotten without losing the lock."""

from pathlib import Path

import pytest

from adamas import data_folder, up
from adamas.children import ChildDied
from adamas.stack import UpFailed


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with (
        data_folder.owned(tmp_path),
        pytest.raises(UpFailed, match=r"process \d+\) uses .*DATA=.* PORT_BASE="),
    ):
        data_folder.owned(tmp_path).__enter__()


def test_the_folder_can_be_owned_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with data_folder.owned(tmp_path / "new") as was_killed:
            assert not was_killed


def test_a_killed_owner_is_noticed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / data_folder.LOCK).write_text("4711")
    with data_folder.owned(tmp_path) as was_killed:
        assert was_killed


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UpFailed, match=r"Cannot write to .* Choose another folder"):
        data_folder.owned(tmp_path / "file" / "data").__enter__()


def test_a_full_disk_is_refused_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "NEEDED_MIB", 10**12)
    with pytest.raises(UpFailed, match="MiB are free on the disk"):
        data_folder.owned(tmp_path).__enter__()


@pytest.mark.parametrize(
    ("said", "free_mib", "told"),
    [
        ("sink ended with exit code 1: could not extend file: No space left on device", 900, "The disk of"),
        ("Kafka ended with exit code 1", 3, "The disk of"),
        ("Kafka ended with exit code 1", 900, "Kafka ended"),
    ],
)
def test_whoever_dies_of_a_full_disk_the_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free_mib: int, told: str
) -> None:
    monkeypatch.setattr(data_folder, "free_mib", lambda _: free_mib)
    explained = up.explained(OSError(said), tmp_path)
    assert explained.startswith(told)
    assert said in explained


def test_whoever_died_one_is_told_how_to_go_on(tmp_path: Path) -> None:
    assert up.explained(ChildDied("sink was ended by SIGKILL."), tmp_path).endswith(
        "make up goes on from there."
    )


def test_forgetting_keeps_the_lock(tmp_path: Path) -> None:
    with data_folder.owned(tmp_path):
        (tmp_path / "kafka" / "data").mkdir(parents=True)
        (tmp_path / "demo-key").touch()
        data_folder.forget(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == [data_folder.LOCK]
