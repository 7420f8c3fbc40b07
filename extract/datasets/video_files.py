"""Finding the video files beneath a folder, in an order and under names that don't depend on the file system."""

import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

logger = logging.getLogger(__name__)

VIDEO_EXTENSIONS: Final = frozenset(
    "3g2 3gp asf avi divx f4v flv m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf ogm ogv ts vob webm wmv".split()  # noqa: SIM905
)
"""Extensions by which a file is taken for a video, lower case; what is inside is seen when it is probed."""


class VideoFile(NamedTuple):
    """One file, relative to the folder that was searched, POSIX separators."""

    id: str
    """Its path in Unicode's NFC: the same on every file system."""
    path: str
    """Its path as the file system spells it."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of the folders on the way to it, NFC; empty for a file directly in the root."""
        return tuple(self.id.split("/")[:-1])


def find_video_files(root: Path) -> list[VideoFile]:
    """Find the videos beneath a folder, sorted by id.

    Symbolic links are followed, except where one leads back to a folder it lies in; how many lead out of the root is
    said, as an archive from elsewhere may hold such, too. A link to a file that is gone is listed, so that the video is
    reported as missing instead of vanishing. Left out are hidden files and folders, and what is still being written
    (``*.partial``).

    Args:
        root: The folder.

    Returns:
        At least one file.

    Raises:
        ValueError: no such folder, no videos in it, two files of one id, a name that is no UTF-8.
    """
    check_root(root)
    links: list[str] = []
    files = sorted(
        VideoFile(id=unicodedata.normalize("NFC", path), path=path)
        for path in _walk(root, prefix="", above=(), links=links)
    )
    _mention_links_out(root, links)
    if not files:
        known = " ".join(sorted(VIDEO_EXTENSIONS))
        raise ValueError(f"no videos beneath {str(root)!r}; give the folder that holds them (known: {known})")
    for file, following in pairwise(files):
        if file.id == following.id:
            raise ValueError(
                f"{file.path!a} and {following.path!a} differ only in how Unicode spells them (NFC, NFD); rename one"
            )
    return files


def check_root(root: Path) -> None:
    """Check that a data set's folder is there.

    Raises:
        ValueError: it is not, or it is a file.
    """
    if not root.exists():
        raise ValueError(f"no such folder: {str(root)!r}; give the folder that holds the videos")
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is a file; give the folder that holds the videos")


def _walk(folder: Path, *, prefix: str, above: tuple[tuple[int, int], ...], links: list[str]) -> Iterator[str]:
    """Relative paths of the video files in ``folder``, which lies beneath the folders with the identities ``above``.

    The symbolic links on the way to them are added to ``links``.
    """
    stat = folder.stat()
    identity = (stat.st_dev, stat.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(".partial"):
                continue
            path = prefix + entry.name
            # os.path.isdir, unlike entry.is_dir, takes a link to itself for no folder instead of failing.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():  # noqa: PTH112
                if entry.is_symlink():
                    links.append(path)
                yield from _walk(Path(entry.path), prefix=path + "/", above=(*above, identity), links=links)
            elif _is_video_name(entry.name) and (entry.is_symlink() or entry.is_file()):
                if entry.is_symlink():
                    links.append(path)
                _check_utf8(path)
                yield path


def _mention_links_out(root: Path, links: Sequence[str]) -> None:
    """Say how many links lead to places that are not beneath the root."""
    inside = os.path.realpath(root)
    out = [link for link in links if os.path.commonpath((inside, os.path.realpath(root / link))) != inside]
    if out:
        logger.info("%d symbolic links lead out of %s and are followed, such as %r", len(out), root, min(out))


def _is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    return os.path.splitext(name)[1][1:].lower() in VIDEO_EXTENSIONS  # noqa: PTH122 - a million names


def _check_utf8(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the file name {os.fsencode(path)!r} is not UTF-8; rename it") from None
