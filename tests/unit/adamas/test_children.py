"""Children: never outlive their parent, show why they ended, are killed only when they must be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from adamas.children import ChildDied, end_leftover, launch, run_to_end, wait_until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
PARENT = """
import sys, time
from pathlib import Path
from adamas.children import launch
child = launch("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent ended")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []


def test_a_dead_child_shows_its_last_lines(tmp_path: Path) -> None:
    code = "import sys; print('first'); print('the reason', file=sys.stderr); sys.exit(3)"
    child = launch("worker", [sys.executable, "-c", code], tmp_path / "worker.log")
    child.process.wait(30)
    with pytest.raises(ChildDied) as caught:
        child.check()
    message = str(caught.value)
    assert message.startswith("worker ended with exit code 3.")
    assert "    the reason" in message
    assert str(tmp_path / "worker.log") in message


def test_a_killed_child_names_the_signal(tmp_path: Path) -> None:
    child = launch("worker", SLEEP, tmp_path / "log")
    child.process.kill()
    child.process.wait(30)
    with pytest.raises(ChildDied, match="worker was ended by SIGKILL"):
        child.check()


@pytest.mark.parametrize(("command", "was_polite"), [(SLEEP, True), (STUBBORN, False)])
def test_stopping_is_polite_first(tmp_path: Path, command: list[str], was_polite: bool) -> None:
    child = launch("worker", command, tmp_path / "log")
    wait_until(lambda: "up" in (tmp_path / "log").read_text(), child, 10)
    assert child.stop(timeout_s=1.0 if not was_polite else 30.0) is was_polite
    assert child.exit_code == (-signal.SIGTERM if was_polite else -signal.SIGKILL)


def test_ctrl_c_of_the_terminal_does_not_reach_children(tmp_path: Path) -> None:
    child = launch("worker", SLEEP, tmp_path / "log")
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    child.stop(10)


def test_a_short_program_that_fails_shows_its_output() -> None:
    with pytest.raises(ChildDied, match="Formatting failed:\nno such thing"):
        run_to_end("Formatting", [sys.executable, "-c", "import sys; sys.exit('no such thing')"], 10)


def test_a_short_program_that_hangs_is_cut_off() -> None:
    with pytest.raises(ChildDied, match=r"Formatting did not end within 0\.3 s"):
        run_to_end("Formatting", SLEEP, 0.3)


def test_waiting_ends_with_the_child(tmp_path: Path) -> None:
    child = launch("worker", [sys.executable, "-c", "pass"], tmp_path / "log")
    with pytest.raises(ChildDied, match="exit code 0"):
        wait_until(lambda: False, child, 10)


def test_a_leftover_is_ended_and_a_stranger_with_its_id_is_not(tmp_path: Path) -> None:
    child = launch("worker", [*SLEEP, "marker-of-this-test"], tmp_path / "log")
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(child.pid))
    end_leftover(pid_file, "another-marker", 5)
    time.sleep(0.1)
    assert child.exit_code is None
    end_leftover(pid_file, "marker-of-this-test", 5)
    assert child.exit_code is not None


@pytest.mark.parametrize("text", ["", "not a number", "999999999"])
def test_a_senseless_pid_file_is_no_leftover(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    end_leftover(tmp_path / "pid", "", 5)
    end_leftover(tmp_path / "missing", "", 5)
