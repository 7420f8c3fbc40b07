"""The process behind ``GuardedProcess``: receives calls, answers them, and ends when nobody listens any more."""

import faulthandler
import importlib
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Final

GRACE_SECONDS: Final = 30.0
"""How long after a call's time is up this process ends itself, should its parent not have done so."""
_WATCH_SECONDS: Final = 0.5
_PAGES_OF_DATA: Final = 5
"""Column of ``/proc/self/statm``: data and stack."""


def main() -> None:
    """Serve calls over the socket whose file descriptor is the first argument.

    The second argument is the memory in bytes that calls may take beyond what an idle process has; 0 means no limit.
    Whatever follows are modules that calls need: they are imported before memory is limited and time is measured.
    """
    connection = Connection(int(sys.argv[1]))
    memory_bytes = int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for all of a job: our parent knows what to do
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)  # whatever a library prints must not end up in the command's result
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()
    for library in sys.argv[3:]:
        importlib.import_module(library)
    if memory_bytes:
        _limit_memory(memory_bytes)
    connection.send("ready")
    while True:
        try:
            function, arguments, timeout_seconds = connection.recv()
        except (EOFError, OSError):
            return
        except BaseException as error:  # a function that cannot be imported here is nobody's crash
            connection.send((False, error))
            continue
        # Works even where a library hangs with Python's lock in its hands.
        faulthandler.dump_traceback_later(timeout_seconds + GRACE_SECONDS, exit=True)
        try:
            answer = True, function(*arguments)
        except BaseException as error:
            answer = False, error
        faulthandler.cancel_dump_traceback_later()
        connection.send(answer)
        if isinstance(answer[1], MemoryError):
            return  # an allocator that has failed is not to be relied on


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _limit_memory(memory_bytes: int) -> None:
    """Let allocations beyond the limit fail, on Linux; elsewhere there is no such limit."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of a user's
            pages = int(file.read().split()[_PAGES_OF_DATA])
    except (ImportError, OSError):
        return
    limit = pages * resource.getpagesize() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
