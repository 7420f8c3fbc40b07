"""One job a store: a lock that is taken by exclusive creation, kept alive by a heartbeat, and looked at by writers."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from scale_video.store.errors import StoreError, StoreLockedError, StoreLostError
from scale_video.store.location import StoreLocation
from scale_video.store.lock_file import LockFile, LockOwner

HEARTBEAT_SECONDS: Final = 60.0
STALE_SECONDS: Final = 300.0

_ATTEMPTS: Final = 5
_JOIN_SECONDS: Final = 10.0
"""How long a heartbeat that hangs in the network is waited for."""
_LOG: Final = logging.getLogger(__name__)


class StoreLock:
    """A store that this process holds. A context manager; in a block of ``with`` or until ``release``.

    Who may take a lock that is there:

    - Nobody, while its process is seen to be alive: that needs the same machine, boot and process namespace, and a
      ``/proc`` that shows processes of its user.
    - Anybody at once, where its process would be seen, and is gone (killed, say).
    - Anybody, once its heartbeat is 5 minutes old. Its age is the difference of two modification times given by the
      file system, that of the lock and that of a file written now; so clocks of hosts may differ. A file system that
      tells no modification times has no stale locks.
    - Whoever says ``break_lock``.

    Of several that try at once, one succeeds. Who was thought dead and is not finds out by ``check``, and its writers,
    which are given the token, before each block.
    """

    def __init__(self, location: StoreLocation, owner: LockOwner, *, what: str, made_folder: bool) -> None:
        self.token = owner.token
        """What writers show: ``BlockWriter(..., lock_token=lock.token)``."""
        self.lost: str | None = None
        """Why the lock is no longer ours, as far as the heartbeat knows; None while it is."""
        self._location = location
        self._what = what
        self._file = LockFile(location)
        self._content = owner.to_bytes()
        self._made_folder = made_folder
        self._released = Event()
        self._heart = Thread(target=self._beat, name=f"heartbeat of {location.url}", daemon=True)
        self._heart.start()

    @classmethod
    def acquire(cls, url: str | Path, *, purpose: str, break_lock: bool = False, what: str = "store") -> Self:
        """Take the lock of a store, which need not exist yet, and clear away what killed writers left.

        Args:
            url: path or fsspec URL of the store.
            purpose: what for, in a word; shown to others.
            break_lock: take it from whoever holds it.
            what: what the place is called in messages; a folder of another kind can be locked as well.

        Raises:
            StoreLockedError: another job holds it.
            StoreError: the lock cannot be written: no permission, no space, a read-only file system.
        """
        location = StoreLocation.of(url)
        owner = LockOwner.of_this_process(purpose)
        file = LockFile(location)
        with _in_one_line(f"{what} {location.url!r} cannot be locked"):
            made_folder = file.make_folder()
            try:
                _take(file, owner, place=f"{what} {location.url!r}", break_lock=break_lock)
            except BaseException:
                if made_folder:
                    with suppress(OSError):
                        Path(location.root).rmdir()
                raise
            lock = cls(location, owner, what=what, made_folder=made_folder)
            try:
                location.remove_partial_files()  # nobody else may write now
            except BaseException:
                lock.release()
                raise
        return lock

    def check(self) -> None:
        """Make sure that the lock is still ours.

        Raises:
            StoreLostError: it is not, or the store cannot be reached.
        """
        if self.lost is not None:
            raise StoreLostError(self.lost)
        check_lock(self._location, self.token, what=self._what)

    def release(self) -> None:
        """Give the lock back; a second call does nothing. What fails here is logged: the work is done by then."""
        if self._released.is_set():
            return
        self._released.set()
        self._heart.join(_JOIN_SECONDS)
        try:
            self.check()
            self._file.remove(with_folder=self._made_folder)
        except Exception as error:  # clients of object stores raise what they like
            _LOG.warning("%s", error)

    def __enter__(self) -> Self:
        """The lock itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            try:
                content = self._file.read()
                if content != self._content:
                    self.lost = _loss(self._location, content, what=self._what)
                    return
                self._file.refresh(self._content)
            except Exception as error:  # a network that is down for a while; others wait for five beats
                _LOG.warning("the lock of %s %r cannot be refreshed: %s", self._what, self._location.url, error)


def clear_left_over(url: str | Path) -> None:
    """Remove the lock of a job that is known to be gone, and its partial files; leave any other as it is."""
    with suppress(StoreError, OSError):
        if LockFile(StoreLocation.of(url)).read() is not None:
            StoreLock.acquire(url, purpose="clean up").release()


def check_lock(location: StoreLocation, token: str, *, what: str = "store") -> None:
    """Make sure that a store is there, and is still held by whoever has the token; what a writer does before it writes.

    Without this look, a store whose file system was unmounted would be written beneath the mount point: Zarr makes the
    folders that it misses.

    Raises:
        StoreLostError: the store is not there or cannot be read, or its lock was taken away.
    """
    try:
        content = LockFile(location).read()
    except Exception as error:  # clients of object stores raise what they like
        raise StoreLostError(f"{what} {location.url!r} cannot be reached any more: {error}") from error
    owner = LockOwner.from_bytes(content) if content is not None else None
    if owner is None or owner.token != token:
        raise StoreLostError(_loss(location, content, what=what))


def _take(file: LockFile, owner: LockOwner, *, place: str, break_lock: bool) -> None:
    """Create the lock, or take it over from whoever may be robbed of it."""
    mine = owner.to_bytes()
    way_out = "wait for it, or if you are sure that it is gone, run the command again with --break-lock"
    for _ in range(_ATTEMPTS):
        if file.create(mine):
            return
        held = file.read()
        if held is None:  # given back just now
            continue
        holder = LockOwner.from_bytes(held)
        if not break_lock and not (holder is not None and holder.is_gone()):
            age = None if holder is not None and holder.is_visible() else file.age_seconds()
            if age is None or age < STALE_SECONDS:
                beat = "" if age is None else f", last heard of {max(0, round(age))} s ago"
                raise StoreLockedError(f"{place} is in use by {holder or 'another job'}{beat}; {way_out}")
        if file.take_over(held, mine, impatient=break_lock, patience_seconds=STALE_SECONDS):
            _LOG.warning("took the lock of %s over from %s", place, holder or "a job that left no name")
            return
    raise StoreLockedError(f"{place} is being taken over by another job at this moment; {way_out}")


def _loss(location: StoreLocation, content: bytes | None, *, what: str) -> str:
    """What became of a lock, given what is there instead of it."""
    again = "nothing more is written here; run the same command again to go on"
    if content is None:
        return (
            f"the lock of {what} {location.url!r} is gone: it was unmounted, moved or deleted, or the lock was removed "
            f"by hand; {again}"
        )
    owner = LockOwner.from_bytes(content)
    return f"the lock of {what} {location.url!r} was taken by {owner or 'another job'}; {again}"


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # OSError; and clients of object stores raise what they like
        raise StoreError(f"{what}: {error}; it must be writable for this command") from error
