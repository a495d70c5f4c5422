"""Child processes: started on a leash, their output in a log file, stopped politely and then not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from schemas.errors import Fatal

log = structlog.stdlib.get_logger(__name__)

LEASH = Path(__file__).with_name("leash.py")
POLL_S = 0.02


class ChildDied(Fatal):
    """A child process ended that was to go on; the message holds the last lines of its log."""


@dataclass(frozen=True)
class Child:
    """A running child process.

    Attributes:
        name: what people call it.
        log_file: where its output goes.
        stop_signal: what makes it stop cleanly.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    log_file: Path
    stop_signal: signal.Signals

    @property
    def pid(self) -> int:
        """Its process id, which is the program's own: the leash has become it."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    def check(self) -> None:
        """Raise `ChildDied` unless it runs."""
        if self.exit_code is not None:
            raise ChildDied(f"{self.name} {self.ending()}.\n{self.shown_log()}")

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.exit_code or 0
        if code >= 0:
            return f"ended with exit code {code}"
        who = " (by somebody, or by the system when memory ran out)" if -code == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-code).name}{who}"

    def shown_log(self, count: int = 8) -> str:
        """The end of its log, and where the rest is."""
        lines = [f"    {line}" for line in last_lines(self.log_file, count)]
        return "\n".join([*lines, f"Its log: {self.log_file}"])

    def ask_to_stop(self) -> None:
        """Send the signal that stops it cleanly; nothing happens when it has ended."""
        if self.exit_code is None:
            self.process.send_signal(self.stop_signal)

    def stop(self, timeout_s: float) -> bool:
        """Ask it to stop, kill it after the time-out; true when it did not have to be killed."""
        self.ask_to_stop()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            log.warning("child.killed", child=self.name, after_s=round(timeout_s, 1))
            self.process.kill()
            self.process.wait()
            return False
        return True


def launch(
    name: str,
    command: Sequence[str | Path],
    log_file: Path,
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> Child:
    """Start a program that gets `stop_signal` should this process end, however that happens.

    Call it on the main thread: Linux sends that signal when the *thread* ends that started the child.
    It gets a process group of its own, so that Ctrl-C on the terminal reaches this process only.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as output:
        process = subprocess.Popen(
            [*_leash(stop_signal, user), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            process_group=0,
        )
    return Child(name, process, log_file, stop_signal)


def run_to_end(name: str, command: Sequence[str | Path], timeout_s: float, user: str | None = None) -> None:
    """Run a short program; raise `ChildDied` with its output when it fails or takes longer than the time-out."""
    whole = [*_leash(signal.SIGKILL, user), *map(str, command)]
    try:
        done = subprocess.run(whole, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ChildDied(f"{name} did not end within {timeout_s:g} s") from error
    if done.returncode:
        raise ChildDied(f"{name} failed:\n{(done.stdout + done.stderr).strip()}")


def _leash(stop_signal: signal.Signals, user: str | None) -> list[str]:
    # -I and -S: neither the environment nor installed packages can change what this small script does.
    start = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(stop_signal))]
    return [*start, *([user] if user else []), "--"]


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a text file, reading no more than its last 16 kB; none when it does not exist."""
    if not file.exists():
        return []
    with file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - 16_384))
        return handle.read().decode(errors="replace").splitlines()[-count:]


def end_leftover(pid_file: Path, marker: str, timeout_s: float = 15.0) -> None:
    """Wait for the process that a former start left behind, and kill it after the time-out.

    The id in `pid_file` counts only when that process's command line holds `marker`: ids are used again.
    """
    leftover = _leftover(pid_file, marker)
    if leftover is None:
        return
    log.info("child.waiting_for_leftover", pid=leftover.pid, file=str(pid_file))
    leftover.terminate()
    _, alive = psutil.wait_procs([leftover], timeout=timeout_s)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def _leftover(pid_file: Path, marker: str) -> psutil.Process | None:
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        return process if any(marker in argument for argument in process.cmdline()) else None
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def wait_until(ready: Callable[[], bool], child: Child, timeout_s: float, poll_s: float = POLL_S) -> None:
    """Block until `ready()` is true; raise `ChildDied` when the child ends or the time runs out before."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise ChildDied(f"{child.name} did not answer within {timeout_s:g} s.\n{child.shown_log()}")
        time.sleep(poll_s)
