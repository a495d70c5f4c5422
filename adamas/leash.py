"""Turns into another program that ends when its parent ends: `python leash.py PARENT SIGNAL [USER] -- COMMAND...`.

Run as a script of its own and by path, before the command, because what it sets must be set between fork and exec and
Python code between the two may deadlock in a process that has threads. It imports nothing but the standard library.

As root it can also step down to another user, which Postgres insists on. Checkout and virtual environment may lie in
a folder only root may enter, so it keeps one capability: to read what permissions deny.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def main() -> None:
    """Step down, tie the leash, become the command."""
    split = sys.argv.index("--")
    parent, number, *user = sys.argv[1:split]
    command = sys.argv[split + 1 :]
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if user:
        _step_down(user[0], libc)
    if libc:
        # After the change of user, which would have cleared it.
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child began")
    # A parent that ignores Ctrl-C hands that on; its children must still stop when told to.
    for inherited in (signal.SIGINT, signal.SIGTERM):
        signal.signal(inherited, signal.SIG_DFL)
    os.execv(command[0], command)


def _step_down(user: str, libc: "ctypes.CDLL | None") -> None:
    entry = pwd.getpwnam(user)
    if libc:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if libc:
        _keep_reading(libc)


def _keep_reading(libc: "ctypes.CDLL") -> None:
    """Keep the weaker of the two capabilities that this root has; a container's root may lack it, or both."""
    header, sets = _Header(CAPABILITY_VERSION_3, 0), (_Sets * 2)()
    libc.capget(ctypes.byref(header), ctypes.byref(sets))
    held = [c for c in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if sets[0].permitted & (1 << c)]
    if not held:
        return
    kept = _Sets(1 << held[0], 1 << held[0], 1 << held[0])
    libc.capset(ctypes.byref(header), ctypes.byref((_Sets * 2)(kept)))
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, held[0], 0, 0)


if __name__ == "__main__":
    main()
