"""Files that a stage appends a line to whenever there is something to note; each line is a JSON object.

Whoever was killed in the middle of a line, and whoever writes at the same time, costs nobody else a line. What cannot
be written is said once: a journal is not worth a job.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_origin
from uuid import uuid4

from scale_video.pipelines.console import as_values, note

_KIND: Final = "event"
_MAX_ERROR: Final = 500
"""Characters."""


class JournalFile:
    """Appends lines; opened anew for each, which is at most every few seconds.

    Args:
        path: Its folder is made when the first line is written. None: nothing is noted anywhere.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._has_warned = False

    def append(self, event: Any) -> None:
        """Note an event: the name of its dataclass, and its fields."""
        if self._path is None:
            return
        line = json.dumps({_KIND: type(event).__name__, **as_values(event)}).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+", buffering=0) as file:
                if _is_torn(file.fileno()):
                    line = b"\n" + line
                if file.write(line) != len(line):  # in one piece, so that other writers' lines stay whole
                    raise OSError(f"'{self._path}' took a part of a line only; is the disk full?")
        except OSError as error:
            if not self._has_warned:
                note(f"warning: the journal cannot be written, the job goes on without it: {error}")
            self._has_warned = True


def _is_torn(descriptor: int) -> bool:
    """Whether the last line has no end: its writer was killed, or the disk was full."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def read_events(path: Path, kinds: Sequence[type]) -> Iterator[Any]:
    """The events of a journal; none where there is no file.

    Lines that are torn, that lack a field, or that are of no such kind are left out, and so are fields that nobody
    knows: they may be of another release.

    Args:
        path: Of the journal.
        kinds: Dataclasses.

    Raises:
        OSError: it is there, but cannot be read.
    """
    by_name = {kind.__name__: kind for kind in kinds}
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        kind = by_name.get(str(values.get(_KIND))) if isinstance(values, dict) else None
        if kind is not None and (event := _event(kind, values)) is not None:
            yield event


def _event(kind: type, values: Mapping[str, Any]) -> Any:
    """An event from its line; None where a field is missing, or holds something else."""
    given = {}
    for field in fields(kind):
        if field.name in values and _fits(values[field.name], field.type):
            given[field.name] = values[field.name]
        elif field.name in values or (field.default is MISSING and field.default_factory is MISSING):
            return None
    return kind(**given)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a JSON value is what a field holds; what is inside of lists and mappings is not looked at."""
    kind = get_origin(annotation) or annotation
    alternatives: dict[Any, Any] = {float: (int, float), tuple: list}
    return isinstance(value, alternatives.get(kind, kind))


def how_it_ended(error: BaseException | None) -> tuple[str, str]:
    """``complete``, ``interrupted`` or ``failed``; and why, in one line, where it failed."""
    if error is None:
        return "complete", ""
    if not isinstance(error, Exception):  # a signal
        return "interrupted", ""
    return "failed", " ".join(str(error).split())[:_MAX_ERROR]


def utc_now(*, seconds_ago: float = 0.0) -> str:
    """The time of day, to the second: ``2026-03-01T12:00:00Z``."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """Tells one job, training or call from others in the same file."""
    return uuid4().hex[:12]
