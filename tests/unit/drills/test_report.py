"""How a drill ends."""

import json
import subprocess
import sys

import pytest

_DRILL = """
import atexit, os, sys, threading, time
from drills.report import Figure, finish
def chatter():
    while True:
        os.write(2, b"a thread of a library\\n")
        time.sleep(0)
threading.Thread(target=chatter, daemon=True).start()
atexit.register(print, "at exit")
atexit.register(time.sleep, 0.1)
print("before")
finish("drill-x", [Figure("lost", int(sys.argv[1]), "stones", "== 0")])
"""


@pytest.mark.parametrize("lost", [0, 3])
def test_the_line_of_figures_is_the_last_whatever_else_still_speaks(lost: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DRILL, str(lost)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (1 if lost else 0)
    assert "before" in done.stdout
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {
        "name": "drill-x",
        "met": not lost,
        "figures": [{"name": "lost", "value": lost, "unit": "stones", "goal": "== 0"}],
    }
