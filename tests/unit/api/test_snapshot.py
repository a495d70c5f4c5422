from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from api.plain_index import PlainIndex
from api.query import Query
from api.snapshot import MAX_AGE_DAYS, Manifest, Snapshots, own_folder
from tests.unit.api.stock import batch_of, records_of
from tests.unit.schemas.stones import make_stone

DAY_MS = 86_400_000
STOCK = [make_stone(id=f"nivoda-natural:{n}", price_cents=n) for n in range(50)]


@pytest.fixture
def written(tmp_path: Path) -> Manifest:
    return write(tmp_path)


def write(folder: Path, positions: int = 5) -> Manifest:
    index = PlainIndex(folder)
    index.apply(batch_of(*STOCK, demo=positions))
    index.apply(batch_of(removed=(STOCK[7].id,)))
    snapshots = Snapshots(folder)
    manifest = snapshots.write(index, "topic", {0: 100}, {0: 90})
    snapshots.publish(index)
    return manifest


def load(folder: Path, **changes: object) -> tuple[PlainIndex, Manifest | None, str]:
    index = PlainIndex(folder)
    asked: dict[str, object] = {"topic_id": "topic", "ends": {0: 100}} | changes
    with capture_logs() as lines:
        found = Snapshots(folder).load(index, **asked)  # type: ignore[arg-type]
    return index, found, str(lines)


def test_what_was_written_is_loaded(tmp_path: Path, written: Manifest) -> None:
    index, found, _ = load(tmp_path)
    assert found == written
    assert (written.offsets, written.changed, written.stones) == ({0: 100}, {0: 90}, 49)
    assert index.positions == {"demo": 5}
    whole = PlainIndex()
    whole.apply(batch_of(*STOCK[:7], *STOCK[8:]))
    query = Query(limit=250)
    assert records_of(index, index.search(query)) == records_of(whole, whole.search(query))
    assert index.row(STOCK[7].id) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"topic_id": "another"}, "not of another"),
        ({"ends": {0: 99}}, "the topic ends before"),
        ({"now_ms": 2**43}, f"more than {MAX_AGE_DAYS} days"),
    ],
)
def test_a_snapshot_that_cannot_be_trusted_is_refused(
    tmp_path: Path, written: Manifest, changes: dict[str, object], reason: str
) -> None:
    index, found, lines = load(tmp_path, **changes)
    assert (found, len(index)) == (None, 0)
    assert reason in lines


def test_a_snapshot_of_nearly_14_days_is_taken(tmp_path: Path, written: Manifest) -> None:
    assert load(tmp_path, now_ms=written.taken_at_ms + MAX_AGE_DAYS * DAY_MS)[1] is not None
    assert load(tmp_path, now_ms=written.taken_at_ms + MAX_AGE_DAYS * DAY_MS + 1)[1] is None


def spoil_array(folder: Path) -> None:
    path = folder / "snapshot" / "places.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def cut_records(folder: Path) -> None:
    for path in folder.glob("records-*"):
        with path.open("r+b") as file:
            file.truncate(100)


def lose_records(folder: Path) -> None:
    for path in folder.glob("records-*"):
        path.unlink()


def change_layout(folder: Path) -> None:
    path = folder / "snapshot" / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, layout=(0, 0))))


def spoil_manifest(folder: Path) -> None:
    (folder / "snapshot" / "manifest.json").write_bytes(b"{")


@pytest.mark.parametrize("spoil", [spoil_array, cut_records, lose_records, change_layout, spoil_manifest])
def test_a_damaged_snapshot_is_refused(
    tmp_path: Path, written: Manifest, spoil: Callable[[Path], None]
) -> None:
    spoil(tmp_path)
    index, found, lines = load(tmp_path)
    assert (found, len(index)) == (None, 0)
    assert "api.snapshot_refused" in lines
    index.apply(batch_of(*STOCK))
    assert index.search(Query()).total == len(STOCK)


def test_a_snapshot_replaces_the_one_before_and_its_files(tmp_path: Path, written: Manifest) -> None:
    write(tmp_path, positions=6)
    index, found, _ = load(tmp_path)
    assert found is not None
    assert index.positions == {"demo": 6}
    assert {path.name for path in tmp_path.iterdir()} == {"snapshot", *found.records}


def test_killed_between_two_renames_the_one_before_counts(tmp_path: Path, written: Manifest) -> None:
    (tmp_path / "snapshot").rename(tmp_path / "snapshot-old")
    assert load(tmp_path)[1] == written


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "api")
    assert not own_folder(tmp_path / "api")
