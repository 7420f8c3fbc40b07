"""Ctrl-C, SIGTERM and a closed terminal end a command alike: all is left in order, and one line says how to go on."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Interrupted(BaseException):
    """A signal; no ``Exception``, so that nothing on the way takes it for a failure of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def interruptible(way_on: str) -> Iterator[None]:
    """End the program when it is told to, after everything in the block has been left in order.

    The status is 128 + the signal's number, as shells have it. Signals that the program was started to ignore
    (``nohup``) stay ignored. Outside the main thread, which alone gets signals, nothing changes.

    Args:
        way_on: what the user should do next; follows the signal's name on stderr.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupted(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in heeded:
            signal.signal(number, interrupt)
        yield
    except _Interrupted as interrupted:
        click.echo(f"interrupted by {signal.Signals(interrupted.number).name}; {way_on}", err=True)
        sys.exit(128 + interrupted.number)
    finally:
        for number in heeded:
            signal.signal(number, before[number])
