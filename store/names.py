"""Names that become folders of the store, and must not be able to leave it; texts that become its UTF-8."""

import re
from collections.abc import Collection, Sequence
from typing import Final

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_FILES: Final = ("zarr.json", "lock.json")


def is_name(name: str) -> bool:
    """Whether a view, a backbone or a column may be called so."""
    return _NAME.fullmatch(name) is not None and name not in _FILES


def check_name(name: str, *, what: str, reserved: Collection[str] = ()) -> None:
    """Refuse a name that is no plain folder name, or that the format uses for something else.

    Args:
        name: the name.
        what: what is called so, for the message.
        reserved: names that the format uses at the same place.

    Raises:
        ValueError: the name has other characters than ``a-z 0-9 . _ -``, begins with one of ``. _ -``, or is reserved.
    """
    if name in reserved or name in _FILES:
        raise ValueError(f"{what} cannot be called {name!r}, the format uses this name; choose another one")
    if not is_name(name):
        raise ValueError(
            f"{what} {name!r} must consist of a-z, 0-9, '.', '_' and '-', and begin with a letter or digit"
        )


def check_text(text: str, *, what: str) -> None:
    """Refuse a text that has no UTF-8, such as a file name of undecodable bytes.

    Raises:
        ValueError: it holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} {text!r} is no valid Unicode; rename the file, or escape what has no UTF-8") from None


def check_relative_path(path: str) -> None:
    """Refuse a path that could lead out of the folder that it is relative to; a store may come from anybody.

    Raises:
        ValueError: it is empty, absolute, has a part ``..``, or holds a NUL.
    """
    if not path or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"path {path!r} must be relative, and lie beneath the data root")


def check_texts(texts: Sequence[str], *, what: str) -> None:
    """``check_text`` of many: all at once, and one by one only where something is wrong.

    Raises:
        ValueError: as ``check_text``.
    """
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        for text in texts:
            check_text(text, what=what)


def check_relative_paths(paths: Sequence[str]) -> None:
    """``check_relative_path`` of many: all at once, and one by one only where something may be wrong.

    Raises:
        ValueError: as ``check_relative_path``.
    """
    joined = "\n".join(("", *paths, ""))
    if any(odd in joined for odd in ("\n\n", "\n/", "..", "\0")):
        for path in paths:
            check_relative_path(path)
