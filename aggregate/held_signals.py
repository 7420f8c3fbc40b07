"""Signals that wait until a step of training is done and saved: Ctrl-C, a cluster's pre-emption, a closed terminal."""

import signal
import threading
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


class TrainingStoppedError(Exception):
    """A signal came, and everything is saved."""


class HeldSignals:
    """Takes signals in the place of the handlers that are there when it is made, and hands them over later.

    A second signal does not wait. Signals that the program ignores stay ignored. Outside the main thread, which alone
    gets signals, nothing changes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        """Number of the signal that waits."""
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._before = {
            number: handler
            for number, handler in handlers.items()
            if in_main_thread and handler not in (signal.SIG_IGN, None)
        }

    def hold(self) -> None:
        """Let signals wait from now on, whoever has set handlers meanwhile (Lightning does, for SIGTERM)."""
        for number in self._before:
            signal.signal(number, self._receive)

    def release(self) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Give the signal that waited to the handler it was meant for, by default the end of the program.

        Raises:
            SystemExit: with status 128 + the signal's number, where the handler came back.
        """
        if self.received is not None:
            signal.raise_signal(self.received)
            raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.release()
            signal.raise_signal(number)
        self.received = number
