"""The lock file is dealt out whole, and what pip says becomes advice."""

import runpy
from pathlib import Path

import pytest

from runtime import install

LOCK = """\
# head
aiohttp==3.14.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via faust
attrs==26.1.0 ; python_version < '3.12' \\
    --hash=sha256:cc
certifi==1 \\
    --hash=sha256:dd
"""


def test_no_requirement_is_lost_or_split(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(LOCK)
    first, second = install._shares(lock, 2)
    assert first.count("==") + second.count("==") == 3
    assert "aiohttp==3.14.5 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb" in first
    assert second == "attrs==26.1.0 ; python_version < '3.12' \\\n    --hash=sha256:cc\n"


def test_there_are_never_more_shares_than_requirements(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text(LOCK)
    assert len(install._shares(lock, 8)) == 3


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "The disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "A package is not the one the lock file names"),
        ("ERROR: Could not find a version", "Check the network"),
    ],
)
def test_pips_error_becomes_advice(output: str, advice: str) -> None:
    assert install._explained("Cannot install", output).startswith(f"Cannot install. {advice}")


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "MINIMUM", (99, 0))
    with pytest.raises(install.InstallFailed, match=r"too old: 3\.11 or newer is needed"):
        install.install(tmp_path / "x.lock", tmp_path / "venv")


def test_a_process_that_the_command_spawns_does_not_run_it_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("version = 3.11.0\n")
    install._link_checkout(tmp_path)
    # As `multiprocessing` does in the child; the command would end it (SystemExit).
    runpy.run_path(str(tmp_path / "bin" / "adamas"), run_name="__mp_main__")
