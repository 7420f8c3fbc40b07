"""A program whose processes all try to lock one store at the same moment; it prints the tokens of those that succeed.

python lock_racers.py STORE NUM_PROCESSES
"""

import os
import sys
import time

from scale_video.store.errors import StoreLockedError
from scale_video.store.lock import StoreLock


def race(url: str, *, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    try:
        lock = StoreLock.acquire(url, purpose="race")
    except StoreLockedError:
        return
    lock.check()
    print(lock.token, flush=True)
    time.sleep(1.0)  # alive, until the others have seen it
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
