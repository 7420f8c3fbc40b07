"""A process of our own that runs one call at a time, and whose crash, hang or hunger harms nobody else.

Decoders are C code that meets bytes from anywhere. What they do to their process must not be done to a Dask worker: it
takes the work of its neighbours with it, and nobody can tell any more which video it was. Here the caller knows: it has
handed over exactly one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

START_SECONDS = 300.0
"""A process that has not imported its libraries by then never will."""
START_ATTEMPTS = 3
"""A process may be killed before it is ready, by a machine that runs out of memory, say."""


class CallHarmedError(Exception):
    """A call that did not come to an end by itself; its process is gone, except after ``CallRaisedError``."""


class ProcessDiedError(CallHarmedError):
    """The process ended during the call: a crash, or someone killed it.

    Attributes:
        killed: whether by SIGKILL, which no code sends to itself by accident: somebody else ended it.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"ended its process ({_ending(code)})")
        self.killed = code == -signal.SIGKILL


class CallTimedOutError(CallHarmedError):
    """The call took too long; its process was killed."""


class OutOfMemoryError(CallHarmedError):
    """The call asked for more memory than it may have."""


class CallInterruptedError(CallHarmedError):
    """Nobody wants the answer any more; see ``GuardedProcess.interrupt``."""


class CallRaisedError(CallHarmedError):
    """The call ended in an error that nobody foresaw; raised by functions that are called, not by the process."""


class GuardedProcess:
    """One child process, started when it is first needed and again after it is gone. Not for two threads at a time."""

    def __init__(
        self, *, memory_bytes: int | None, libraries: Sequence[str] = (), shared_files: Sequence[int] = ()
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            memory_bytes: what calls may allocate, in sum; None for no limit. Enforced on Linux.
            libraries: modules that calls need, imported before memory is limited and time is measured.
            shared_files: file descriptors that the process inherits under the same numbers.
        """
        self._memory_bytes = memory_bytes
        self._libraries = tuple(libraries)
        self._shared_files = tuple(shared_files)
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: "Connection[Any, Any] | None" = None  # noqa: UP037 - no generic at run time
        self._finalizer: weakref.finalize[..., GuardedProcess] | None = None
        self._interrupted = False

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_seconds: float) -> Any:
        """Run ``function(*arguments)`` in the process; both must be picklable, and so must be the result.

        Raises:
            CallHarmedError: one of its kinds; the next call gets a fresh process.
            ChildProcessError: the process cannot be started.
            Exception: whatever the function raises.
        """
        connection = self._start()
        try:
            connection.send((function, arguments, timeout_seconds))
            if not connection.poll(timeout_seconds):
                raise CallTimedOutError(f"took more than {timeout_seconds:g} s")
            succeeded, answer = connection.recv()
        except CallTimedOutError:
            self.close()
            raise
        except (EOFError, OSError):
            raise ProcessDiedError(self._end()) from None
        except BaseException:  # an interrupt: what the process is at must not be taken for the next call's answer
            self.close()
            raise
        if succeeded:
            return answer
        if isinstance(answer, MemoryError):
            self.close()
            raise OutOfMemoryError(f"needs more memory than the {_gibibytes(self._memory_bytes)} it may have")
        raise answer

    def interrupt(self) -> None:
        """Kill the process from another thread than the one that waits for a call; calls raise until ``resume``."""
        self._interrupted = True
        if (process := self._process) is not None:
            process.kill()

    def resume(self) -> None:
        """Take calls again."""
        self._interrupted = False

    def close(self) -> None:
        """Kill the process, whatever it is doing; a later call starts another one."""
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._connection = self._finalizer = None

    def _start(self) -> "Connection[Any, Any]":
        if self._connection is not None:
            return self._connection
        ending = ""
        for _ in range(START_ATTEMPTS):
            connection = self._launch()
            if self._interrupted:  # looked at after the launch, so that no process escapes its interruption
                self.close()
                raise CallInterruptedError("was interrupted")
            try:
                if connection.poll(START_SECONDS):
                    connection.recv()
                    return connection
            except (EOFError, OSError):
                pass
            ending = _ending(self._end())
        raise ChildProcessError(f"a decoding process cannot be started ({ending}); its own message stands above")

    def _launch(self) -> "Connection[Any, Any]":
        ours, theirs = Pipe()
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "scale_video.extract.guarded_child", str(descriptor)]
        process = subprocess.Popen(
            [*command, str(self._memory_bytes or 0), *self._libraries],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(descriptor, *self._shared_files),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self._process, self._connection = process, ours
        self._finalizer = weakref.finalize(self, _kill, process, ours)
        return ours

    def _end(self) -> int | None:
        """Make sure that the process is gone, and say how it ended."""
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)  # its socket closes a moment before it is gone
        code = process.poll()
        self.close()
        return code


def _kill(process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
    connection.close()
    process.kill()
    process.wait()


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its connection"
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _gibibytes(num_bytes: int | None) -> str:
    return "machine has" if num_bytes is None else f"{num_bytes / 2**30:.3g} GiB"
