"""A program whose processes all try to lock one store at the same moment; it prints the tokens of those that succeed.

python lock_racers.py STORE NUM_PROCESSES
"""

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from scale_video.store.errors import StoreLockedError
from scale_video.store.lock import StoreLock
from scale_video.store.lock_file import LockFile


def slow(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that takes a while, as on a network, so that the others' steps come in between."""

    def take_a_while(*arguments: Any) -> Any:
        time.sleep(random.random() * 0.03)
        result = step(*arguments)
        time.sleep(random.random() * 0.03)
        return result

    return take_a_while


def race(url: str, *, start: float) -> None:
    random.seed(os.getpid())
    time.sleep(max(0.0, start - time.time()))
    for name in ("_create", "read", "_replace", "_remove"):
        setattr(LockFile, name, slow(getattr(LockFile, name)))
    try:
        lock = StoreLock.acquire(url, purpose="race")
    except StoreLockedError:
        return
    print(lock.token, flush=True)
    time.sleep(1.5)  # alive, until the others have seen it
    os._exit(0)  # holds the lock in its death


def main() -> None:
    url, number = sys.argv[1], int(sys.argv[2])
    start = time.time() + 0.3
    children = []
    for _ in range(number):
        child = os.fork()
        if child == 0:
            race(url, start=start)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
