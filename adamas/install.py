"""Installs a lock file into a virtual environment: `python install.py LOCK VENV`. Standard library only.

pip asks the package index for one package after the other, which takes longer than everything else. So the wheels are
downloaded by several pips side by side into the user's cache, and installed from there, once a lock file: the first
start is faster, and another checkout with the same lock needs no network. Hashes are checked on download and again on
installation.

What is installed stays in the cache too, with the byte code of the modules that are really used: seven processes that
start side by side would otherwise each make it for themselves. A checkout's environment is hard links into it.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MINIMUM = (3, 11)
CHECKOUT = Path(__file__).resolve().parent.parent
DOWNLOADS = 8
INSTALLS = 2
SILENCE_TIMEOUT_S = "20"
WHOLE_TIMEOUT_S = 600.0
OWN = ("schemas", "connectors", "streams", "operating", "api", "monitor", "runtime", "migrations", "adamas")
KEPT_UNUSED_S = 30 * 86_400
STARTED = (
    # Asked for while it runs: of each type in a route FastAPI looks whether it is one of pydantic.v1, numba of an array that may
    # not be written whether it is one of numpy.ma, and httpx loads the rest of itself with the first client.
    (
        "api.server",
        "pydantic.v1",
        "numpy.ma",
        "httpcore",
        "certifi",
        "connectors.simulator.server",
        "monitor.service",
        "operating.handlers",
        "pytest",
        "xdist",
    ),
    ("adamas.up", "streams.process", "connectors.postgres.sink", "connectors.ingest.service", "hypothesis"),
)
"""What processes import when they start, dealt out to as many that make its byte code; not every lock has all of it."""
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if "." in name or error.name != name:
            raise
if "numba" in sys.modules:
    # It imports a good part of itself only when it compiles, or reads what it once compiled.
    sys.modules["numba"].njit("int64(int64)")(lambda number: number)
"""


class InstallFailed(Exception):
    """Why, and what to do."""


def main() -> None:
    """Exit with a plain sentence and code 1 when it cannot be done."""
    try:
        install(Path(sys.argv[1]), Path(sys.argv[2]))
    except InstallFailed as error:
        sys.exit(f"{error}")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(
            f"Cannot install: {error.strerror or error}{where}. Is the disk full, or the folder read-only?"
        )
    except KeyboardInterrupt:
        sys.exit("Stopped. Run the same command again to go on; what was downloaded is kept.")


def install(lock: Path, folder: Path) -> None:
    """Make the environment when there is none, and install the lock file's packages into it."""
    if sys.version_info < MINIMUM:
        raise InstallFailed(f"Python {platform.python_version()} is too old: 3.11 or newer is needed.")
    packages = cache_folder() / "packages" / _fingerprint(lock, f"{IMPORT}{STARTED}")
    packages.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(packages / ".lock"):
        if not (packages / ".complete").exists():
            _build(lock, packages)
        (packages / ".complete").touch()
        _timed(f"Linking packages into {folder}", lambda: _link(packages, folder, lock.name))
    _forget_unused(packages.parent)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Two checkouts may begin at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(lock: Path, packages: Path) -> None:
    pip = [sys.executable, str(_bundled_pip())]
    wheels = cache_folder() / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    complete = wheels / f".{_fingerprint(lock)}.complete"
    if not complete.exists():
        _timed(f"Downloading packages into {wheels}", lambda: _download(pip, lock, wheels))
        complete.touch()
    _timed(f"Installing packages into {packages}", lambda: _install(pip, lock, wheels, packages))
    _timed("Making byte code of what is used", lambda: _compile(packages))


def cache_folder() -> Path:
    """The user's cache; as `platformdirs` has it on Linux, which is not installed yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adamas"


def _bundled_pip() -> Path:
    """The pip that comes with Python: the new environment then needs none of its own, which saves 3 s."""
    try:
        import ensurepip
    except ImportError:
        raise InstallFailed(
            "This Python has no ensurepip. On Debian and Ubuntu: apt-get install python3-venv, then try again."
        ) from None
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    shared = sorted(Path("/usr/share/python-wheels").glob("pip-*.whl"))
    if not bundled and not shared:
        raise InstallFailed("This Python has no pip. On Debian and Ubuntu: apt-get install python3-venv.")
    return [*shared, *bundled][-1] / "pip"


def _fingerprint(lock: Path, more: str = "") -> str:
    text = lock.read_bytes() + f"{sys.version_info[:2]}{platform.machine()}{sys.platform}{more}".encode()
    return hashlib.sha256(text).hexdigest()[:20]


def _download(pip: "list[str]", lock: Path, wheels: Path) -> None:
    arguments = ["download", "--only-binary", ":all:", "--timeout", SILENCE_TIMEOUT_S, "--retries", "2"]
    _side_by_side([*pip, *arguments, "--dest", str(wheels)], lock, DOWNLOADS, "Cannot download the packages")


def _install(pip: "list[str]", lock: Path, wheels: Path, packages: Path) -> None:
    python = _fresh_environment(packages)
    # Byte code of everything takes a minute, and a tenth of it is ever used.
    arguments = [
        "--python",
        str(python),
        "install",
        "--no-compile",
        "--no-index",
        "--find-links",
        str(wheels),
    ]
    _side_by_side([*pip, *arguments], lock, INSTALLS, "Cannot install the packages")


def _fresh_environment(folder: Path) -> Path:
    """An environment without packages, whatever was there; its interpreter."""
    for former in ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg"):
        path = folder / former
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def _compile(packages: Path) -> None:
    """Import what processes import; also where the user keeps Python from writing byte code into source folders."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [str(packages / "bin" / "python"), "-c", IMPORT]
    runs = [subprocess.Popen([*command, *names], cwd=CHECKOUT, env=environment) for names in STARTED]
    exit_codes = [run.wait() for run in runs]
    if any(exit_codes):
        raise InstallFailed("The packages do not work together: see above, and run `make lock`.")


def _link(packages: Path, folder: Path, lock: str) -> None:
    """Give an environment the packages of another; one that had another state of this lock file is made anew."""
    linked = folder / f".linked-{lock}"
    if linked.exists() and linked.read_text() != packages.name:
        shutil.rmtree(folder)
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=False, symlinks=True)
    compile_own = [str(folder / "bin" / "python"), "-m", "compileall", "-q", "-j", "2", *OWN]
    compiling = subprocess.Popen(compile_own, cwd=CHECKOUT)
    for parent, _, names in [*os.walk(packages / "lib"), *os.walk(packages / "share")]:
        for source in (Path(parent, name) for name in names):
            _link_file(source, folder / source.relative_to(packages))
    for script in (packages / "bin").iterdir():
        _give_script(script, packages, folder)
    _link_checkout(folder)
    if compiling.wait():
        raise InstallFailed("This checkout does not compile: see above.")
    linked.write_text(packages.name)


def _give_script(script: Path, packages: Path, folder: Path) -> None:
    """A script names its interpreter; a program of its own does not."""
    target = folder / "bin" / script.name
    if script.name.lower().startswith(("python", "activate")):
        return
    with script.open("rb") as file:
        head = file.read(2)
    if head != b"#!":
        _link_file(script, target)
        return
    own = script.read_text().replace(str(packages), str(folder.absolute()))
    target.unlink(missing_ok=True)
    target.write_text(own)
    target.chmod(0o755)


def _link_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True)
        _link_file(source, target)
    except FileExistsError:
        if not target.samefile(source):
            target.unlink()
            _link_file(source, target)
    except OSError:
        # The cache is on another disk, or its file system has no links.
        shutil.copy2(source, target)


def _link_checkout(folder: Path) -> None:
    """Let the environment import this checkout, and give it the `adamas` command."""
    site = folder / "lib" / f"python{_version_of(folder)}" / "site-packages"
    (site / "adamas-checkout.pth").write_text(f"{CHECKOUT}\n")
    command = folder / "bin" / "adamas"
    # A process that the command spawns imports this file under another name.
    start = 'from adamas.cli import main\n\nif __name__ == "__main__":\n    main()\n'
    command.write_text(f"#!{folder.absolute()}/bin/python\n{start}")
    command.chmod(0o755)


def _forget_unused(kept: Path) -> None:
    """Packages of lock files that nobody has installed for a month; what is linked to them stays."""
    for complete in kept.glob("*/.complete"):
        if time.time() - complete.stat().st_mtime > KEPT_UNUSED_S:
            shutil.rmtree(complete.parent, ignore_errors=True)


def _version_of(folder: Path) -> str:
    for line in (folder / "pyvenv.cfg").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "version":
            return ".".join(value.strip().split(".")[:2])
    raise InstallFailed(f"{folder} is not a virtual environment. Remove it and try again.")


def _side_by_side(command: "list[str]", lock: Path, count: int, failure: str) -> None:
    """Run one pip for each share of the lock file."""
    with tempfile.TemporaryDirectory() as temporary:
        runs = []
        for number, share in enumerate(_shares(lock, count)):
            part, output = Path(temporary) / f"{number}.txt", Path(temporary) / f"{number}.log"
            part.write_text(share)
            whole = [*command, "--quiet", "--no-deps", "--require-hashes", "--requirement", str(part)]
            with output.open("wb") as log:
                environment = {
                    **os.environ,
                    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                    "PIP_ROOT_USER_ACTION": "ignore",
                }
                runs.append((subprocess.Popen(whole, stdout=log, stderr=log, env=environment), output))
        _await(runs, failure)


def _await(runs: "list[tuple[subprocess.Popen[bytes], Path]]", failure: str) -> None:
    deadline = time.monotonic() + WHOLE_TIMEOUT_S
    try:
        for process, output in runs:
            if process.wait(max(1.0, deadline - time.monotonic())):
                raise InstallFailed(_explained(failure, output.read_text(errors="replace")))
    except subprocess.TimeoutExpired:
        raise InstallFailed(
            f"{failure} within {WHOLE_TIMEOUT_S:g} s. Check the network and try again."
        ) from None
    finally:
        for process, _ in runs:
            process.kill()
            process.wait()


def _explained(failure: str, output: str) -> str:
    errors = [
        line for line in output.splitlines() if "ERROR" in line or "No space" in line
    ] or output.splitlines()
    if "No space left" in output:
        advice = "The disk is full: free some space and run the same command again."
    elif "HASHES" in output or "hashes" in output:
        advice = (
            "A package is not the one the lock file names; if you changed the lock file, run `make lock`."
        )
    else:
        advice = "Check the network (a proxy is taken from HTTPS_PROXY) and run the same command again."
    return f"{failure}. {advice}\n" + "\n".join(f"    {line}" for line in errors[-4:])


def _shares(lock: Path, count: int) -> "list[str]":
    """The lock file's requirements dealt out to at most `count` shares; one goes over several lines."""
    requirements: list[str] = []
    for line in lock.read_text().splitlines(keepends=True):
        if line.startswith((" ", "\t")) and requirements:
            requirements[-1] += line
        elif line.strip() and not line.startswith("#"):
            requirements.append(line)
    return ["".join(requirements[number::count]) for number in range(min(count, len(requirements)))]


def _timed(what: str, work: Callable[[], object]) -> None:
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    work()
    print(f"  done in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
