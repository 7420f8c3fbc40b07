"""Calls that crash, hang or hunger; a guarded process imports this file by name (see ``harmful`` in conftest)."""

import os
import signal
import time
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def segfault_if_odd(number: int) -> int:
    if number % 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def hang_if_odd(number: int) -> int:
    if number % 2:
        time.sleep(3600)
    return number


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def refuse(number: int) -> int:
    raise ValueError(f"no {number}")


def print_and_double(number: int) -> int:
    print("a library that talks")
    os.write(1, b"to the very file descriptor\n")
    return 2 * number


def killed_the_first_time(marker: str) -> str:
    """Be killed, unless it happened before."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def killed_three_times(marker: str) -> str:
    """Be killed, unless it happened three times before."""
    path = Path(marker)
    number = len(path.read_text()) if path.exists() else 0
    if number < 3:
        path.write_text("x" * (number + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def log_times(call: tuple[str, str, float, bool]) -> str:
    """Append when a call began and ended; a harmful one dies instead of ending."""
    log, name, seconds, dies = call
    with Path(log).open("a") as file:
        file.write(f"begin {name}\n")
        file.flush()
        time.sleep(seconds)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        file.write(f"end {name}\n")
    return name


def decode_that_stumbles(path: Path, requests: object, **given: object) -> None:
    """Raise what no decoder should."""
    raise KeyError(f"{path}:\n an oversight")
