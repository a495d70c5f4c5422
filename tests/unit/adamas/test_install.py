"""The lock file is dealt out whole, and what pip says becomes advice."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from adamas import install

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


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages in a cache: one module, one script, one program."""
    monkeypatch.setattr(install, "OWN", ("migrations",))
    made = tmp_path / "packages" / "one"
    install._fresh_environment(made)
    (site_of(made) / "found.py").write_text("here = True\n")
    (made / "bin" / "find").write_text(f"#!{made}/bin/python\nimport found\n")
    (made / "bin" / "program").write_bytes(b"\x7fELF")
    return made


def site_of(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def test_an_environment_has_the_cached_packages_and_scripts_of_its_own(
    packages: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "venv"
    for _ in range(2):
        install._link(packages, folder, "x.lock")
    assert (site_of(folder) / "found.py").samefile(site_of(packages) / "found.py")
    assert (folder / "bin" / "find").read_text() == f"#!{folder}/bin/python\nimport found\n"
    assert (folder / "bin" / "program").samefile(packages / "bin" / "program")
    subprocess.run([folder / "bin" / "python", folder / "bin" / "find"], check=True)


def test_two_lock_files_share_an_environment_until_one_of_them_changes(
    packages: Path, tmp_path: Path
) -> None:
    folder, changed = tmp_path / "venv", packages.with_name("two")
    install._link(packages, folder, "x.lock")
    (site_of(folder) / "found.py").unlink()
    install._link(packages, folder, "x-dev.lock")
    assert (site_of(folder) / "found.py").exists()
    install._fresh_environment(changed)
    install._link(changed, folder, "x.lock")
    assert not (site_of(folder) / "found.py").exists(), "what the lock no longer has is gone"


def test_packages_that_nobody_installs_any_more_are_forgotten(packages: Path, tmp_path: Path) -> None:
    folder, complete = tmp_path / "venv", packages / ".complete"
    install._link(packages, folder, "x.lock")
    complete.touch()
    install._forget_unused(packages.parent)
    assert packages.exists()
    os.utime(complete, (0, 0))
    install._forget_unused(packages.parent)
    assert not packages.exists()
    assert (site_of(folder) / "found.py").exists()
