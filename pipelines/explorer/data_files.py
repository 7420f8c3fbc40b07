"""Which file is behind a row, if it may be shown: only rows of the store lead to files, and only beneath the data root.

A data root may hold links to other folders, and a store may come from anybody: its paths could go through such links.
So links are followed, and what lies outside is refused unless the user says otherwise.
"""

from collections.abc import Sequence
from pathlib import Path

from scale_video.pipelines.find_video import resolve_data_root
from scale_video.store.names import check_relative_path
from scale_video.store.union import ReadableStore, member_row


class NoPictureError(Exception):
    """A video or clip cannot be shown; its message is one line for the page."""


class DataFiles:
    """The files of a store's videos."""

    def __init__(
        self, store: ReadableStore, paths: Sequence[str], *, data_root: Path | None, follow_links: bool
    ) -> None:
        """Find the folder.

        Args:
            store: Whose videos they are.
            paths: Of the files, relative to the data root.
            data_root: Folder of the videos; its usual place when None, if the data set has one.
            follow_links: Whether files may be shown that links within the data root lead to.

        Raises:
            ValueError: a folder is named, and there is none.
        """
        self._paths = paths
        self._follow_links = follow_links
        self.root: Path | None = None
        self._why_none = ""
        try:
            self.root = resolve_data_root(member_row(store, 0)[0], data_root)
        except ValueError as error:
            if data_root is not None:
                raise
            self._why_none = str(error)

    def find(self, row: int) -> Path:
        """The file of a row, links followed.

        Raises:
            NoPictureError: it is not here, or not beneath the data root.
        """
        if self.root is None:
            raise NoPictureError(self._why_none)
        check_relative_path(self._paths[row])
        try:
            path, root = (self.root / self._paths[row]).resolve(strict=True), self.root.resolve(strict=True)
        except (OSError, RuntimeError):  # a loop of links was a RuntimeError before Python 3.13
            path = root = Path()
        if path == root or not path.is_file():
            raise NoPictureError("the file is not on this machine; name the folder of the videos by --data")
        if not (path.is_relative_to(root) or self._follow_links):
            raise NoPictureError("the file is a link out of the data root; --follow-links has it shown")
        return path

    def why_not(self, row: int) -> str:
        """Why the file of a row cannot be shown; empty where it can."""
        try:
            self.find(row)
        except NoPictureError as error:
            return str(error)
        return ""
