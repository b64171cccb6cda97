"""Becomes another program that the kernel ends when the process that started it dies (Linux).

Run by `child_process` as a file of its own: a change of the new process between fork and exec, safe
even where its parent has threads. Needs only the standard library, since it runs before anything
of ours is on the path. Words: the parent's id, the signal's number, ``uid:gid`` or ``-``, then the
program and its words.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: str, death_signal: str, account: str, *argv: str) -> None:
    """Change the user if told to, tie the knot, and become the program."""
    if account != "-":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # only now: a change of user undoes it
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):
        sys.exit("the parent died before its death could be watched")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - becoming it is the point
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(*sys.argv[1:])
