"""A program that creates stores, or rewrites a block, and dies of SIGKILL just before its n-th file gets its name.

    python killed_writer.py create|rewrite FOLDER N [N ...]

For each n a process of its own works on ``FOLDER/<n>.zarr``; the exit status of the n-th is printed.
"""

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

from scale_video.store.write import BlockWriter

SMALL: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("small_store.py")))


def die_before_file(number: int) -> None:
    """Have this process killed when it names its ``number``-th file, counted from 0."""
    replace, remaining = os.replace, [number]

    def count_down(source: str, target: str) -> None:
        if remaining[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        remaining[0] -= 1
        replace(source, target)

    os.replace = count_down  # type: ignore[assignment]


def work(what: str, root: Path) -> None:
    if what == "create":
        SMALL["make_empty_store"](root)
    else:
        BlockWriter(root, view="random", backbone="motion3d").write(SMALL["make_block"](1, seed=1))


def main() -> None:
    what, folder, *numbers = sys.argv[1:]
    for number in map(int, numbers):
        child = os.fork()  # before Zarr has started a thread
        if child == 0:
            die_before_file(number)
            work(what, Path(folder) / f"{number}.zarr")
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
