"""The first program that every child runs: `child.py DEATH_SIGNAL PARENT_PID UID GID PROGRAM [ARGUMENT...]`.

It ties the child's life to its parent's, drops root's rights where a uid is given ("-" keeps them), and becomes
PROGRAM. This is a separate program, not a `preexec_fn`, because code between fork and exec can deadlock in a process
with threads. It runs with `python -I -S`, so it imports nothing of the project.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Become the program, or return 126 after one line on standard error that gives the reason."""
    death_signal, parent, uid, gid, program, *rest = arguments
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        # After setuid, which clears it. The setting survives the exec below.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != int(parent):
            return 126  # the parent died before the signal was set
    try:
        os.execv(program, [program, *rest])  # noqa: S606  # nosec B606 # no shell is the point
    except OSError as error:
        print(f"cannot run {program}: {error.strerror}", file=sys.stderr)  # noqa: T201
    return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
