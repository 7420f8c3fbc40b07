"""Paths that a list names: text from anywhere, which must not lead out of the folder of the videos."""

import re
from typing import Final

_DRIVE: Final = re.compile(r"[A-Za-z]:")


def check_listed_path(path: str, *, line: str) -> None:
    """Refuse a path that is not beneath the data root by its own spelling.

    Where files must stay elsewhere, whoever owns the data root says so by a symbolic link in it; links are followed.

    Args:
        path: as the list has it; a backslash counts as a separator, wherever the list was made.
        line: where it stands, for the message.

    Raises:
        ValueError: it is absolute, begins with a drive letter, has a part ``..``, or holds a NUL.
    """
    parts = path.replace("\\", "/").split("/")
    if parts[0] == "" or _DRIVE.match(parts[0]) or parts[0] == "~" or ".." in parts or "\0" in path:
        raise ValueError(
            f"{line}: {path!r} leads out of the folder of the videos; a list may only name files beneath it. "
            "Write the path from there on, or link what lies elsewhere into it (symbolic links are followed)"
        )
