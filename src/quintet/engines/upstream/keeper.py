"""Runs one command as long as somebody holds the other end of its standard input: `python -I -S keeper.py COMMAND …`.

It stands between a worker and a foreign server. When the worker goes, however it goes, the pipe closes, and the whole
process group of the command is ended: asked first, then killed. When this process is killed, the kernel kills the
command. Standard library only, and little of it: it must start at once.
"""

import ctypes
import os
import select
import signal
import sys

GRACE_SECONDS = 3.0
"""Between asking and killing."""
EXIT_NOT_STARTED = 127
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def start(command: list[str]) -> int:
    """The command's process id; it leads a session of its own and dies with us."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ours = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == ours:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.execvp(command[0], command)  # noqa: S606  # the operator's own command, and no shell
    except OSError as error:
        sys.stderr.write(f"the command can't be started: {error.strerror}\n")
        sys.stderr.flush()
    os._exit(EXIT_NOT_STARTED)


def keep(child: int) -> int:
    """Wait for the command or for our owner to go; returns the command's exit code."""
    process = os.pidfd_open(child)
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(process, select.POLLIN)
    if process not in dict(poll.poll()):
        end_group(child, signal.SIGTERM)
        waiting = select.poll()
        waiting.register(process, select.POLLIN)
        waiting.poll(GRACE_SECONDS * 1000)
    end_group(child, signal.SIGKILL)  # whatever it left behind
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end_orphans()
    return code


def end_group(leader: int, number: int) -> None:
    """Signal the command and everything it started."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def end_orphans() -> None:
    """Kill what has left the command's group: with its parents gone it is ours, and so are its children then."""
    while orphans := children():
        try:
            for orphan in orphans:
                os.kill(orphan, signal.SIGKILL)
        except PermissionError:
            return
        for orphan in orphans:
            os.waitpid(orphan, 0)


def children() -> list[int]:
    """Our children, as far as the kernel tells."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


if __name__ == "__main__":
    code = keep(start(sys.argv[1:]))
    sys.exit(code if code >= 0 else 128 - code)
