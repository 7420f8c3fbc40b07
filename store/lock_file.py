"""The file ``lock.json`` of a store: who holds it, and the few steps on it that no two jobs can both take."""

import getpass
import hashlib
import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from scale_video.store.location import LOCK_NAME, StoreLocation

_MAX_BYTES: Final = 65_536
"""More than any lock has; what is longer was not written by us."""


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The job that holds a store, as it says itself."""

    token: str
    """A random identity: a lock that is taken again, even by the same process, has another."""
    purpose: str
    """The command: ``extract``, ``plan`` …"""
    user: str
    host: str
    process_table: str
    """Which processes the next two are among: of one boot of one machine, and one namespace. Empty: unknown."""
    pid: int
    process_started: str
    """Clock ticks from boot to the process's start: a number of a process may be given again. Empty: unknown."""
    acquired: str
    """ISO 8601, by the owner's clock: for people, never compared."""

    @classmethod
    def of_this_process(cls, purpose: str) -> Self:
        """This process, with a new token."""
        pid = os.getpid()
        return cls(
            token=uuid.uuid4().hex,
            purpose=purpose,
            user=_user(),
            host=socket.gethostname(),
            process_table=_process_table(),
            pid=pid,
            process_started=_process_started(pid) or "",
            acquired=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self | None:
        """Read what ``to_bytes`` wrote; None for anything else, such as a lock that is being written."""
        try:
            values = json.loads(content)
            owner = cls(**{name: values[name] for name in cls.__slots__})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (value for name, value in asdict(owner).items() if name != "pid")
        return owner if isinstance(owner.pid, int) and all(isinstance(text, str) for text in texts) else None

    def to_bytes(self) -> bytes:
        """JSON, one key a line."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    def is_visible(self) -> bool:
        """Whether its process would be seen from here, if it is alive."""
        if self.process_table == "" or self.process_table != _process_table() or self.process_started == "":
            return False
        return not _is_hidden(self.pid)

    def is_gone(self) -> bool:
        """Whether its process would be seen from here, and is not."""
        return self.is_visible() and _process_started(self.pid) != self.process_started

    def __str__(self) -> str:
        """Who, where, since when, in a few words; safe to show, whoever wrote it."""
        text = f"`{self.purpose}` of {self.user} on {self.host} (process {self.pid}), since {self.acquired}"
        return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


class LockFile:
    """The lock file of one store.

    Ages are differences of two modification times that the file system itself gave, the lock's and that of a file
    written a moment ago. No clock of a machine that uses the store is ever compared with another's.
    """

    def __init__(self, location: StoreLocation) -> None:
        self._location = location
        self._files: Any = location.file_system
        self._path = f"{location.root}/{LOCK_NAME}"

    def make_folder(self) -> bool:
        """Make the store's folder, and say whether it is new; object stores have none."""
        if not self._location.is_local or Path(self._location.root).exists():
            return False
        Path(self._location.root).mkdir(parents=True, exist_ok=True)
        return True

    def read(self) -> bytes | None:
        """What the lock holds; None when there is none."""
        try:
            if self._location.is_local:
                with open(self._path, "rb") as file:  # noqa: PTH123 - done before each block is written
                    return file.read(_MAX_BYTES)
            # A range spares a look at the size, which would come from a listing that may be old.
            return bytes(self._files.cat_file(self._path, start=0, end=_MAX_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, content: bytes) -> bool:
        """Write the lock if there is none; False when there is one."""
        return self._create(self._path, content)

    def take_over(self, held: bytes, content: bytes, *, impatient: bool, patience_seconds: float) -> bool:
        """Put ``content`` in the place of ``held``; False when another job was faster.

        Only one job can create the file that claims this very content of the lock, and only who holds the claim
        replaces the lock, after a last look. A claim of somebody who died meanwhile is given up after a while.

        Args:
            held: what was read of the lock that is to be replaced.
            content: what to replace it by.
            impatient: do not wait for another's claim.
            patience_seconds: how old another's claim must be to be given up.
        """
        claim = f"{self._location.root}/lock.{hashlib.blake2b(held, digest_size=16).hexdigest()}.partial"
        if not self._create(claim, content):
            age = self._age_seconds(claim)
            if not impatient and (age is None or age < patience_seconds):
                return False
            self._remove(claim)
            if not self._create(claim, content):
                return False
        try:
            if self.read() != held:
                return False
            self._replace(content)
        finally:
            self._remove(claim)
        return self.read() == content

    def refresh(self, content: bytes) -> None:
        """Give the lock, which holds ``content``, a new modification time."""
        if self._location.is_local:
            os.utime(self._path)  # to the file system's time; writing could bring an old lock back over a new one
        else:
            self._files.pipe_file(self._path, content)

    def age_seconds(self) -> float | None:
        """Time since the lock was created or refreshed; None where the file system does not tell."""
        return self._age_seconds(self._path)

    def remove(self, *, with_folder: bool) -> None:
        """Delete the lock, and the store's folder if that is asked for and nothing else is in it."""
        self._remove(self._path)
        folder = Path(self._location.root)
        if with_folder and not any(folder.iterdir()):
            folder.rmdir()

    def _create(self, path: str, content: bytes) -> bool:
        if not self._location.is_local:
            try:
                self._files.pipe_file(path, content, mode="create")
            except FileExistsError:
                # A client that got no answer asks again, and then meets what it wrote itself.
                return path == self._path and self.read() == content
            except OSError as error:
                if not _is_refused_precondition(error):
                    raise
                return path == self._path and self.read() == content
            return True
        try:
            with Path(path).open("xb") as file:
                try:
                    file.write(content)
                    file.flush()
                except OSError:
                    Path(path).unlink(missing_ok=True)
                    raise
        except FileExistsError:
            return False
        return True

    def _replace(self, content: bytes) -> None:
        if not self._location.is_local:
            self._files.pipe_file(self._path, content)
            return
        beside = Path(self._location.root) / f"lock.{uuid.uuid4().hex}.partial"
        beside.write_bytes(content)
        beside.replace(self._path)

    def _age_seconds(self, path: str) -> float | None:
        now = f"{self._location.root}/lock.{uuid.uuid4().hex}.partial"
        self._files.pipe_file(now, b"")
        try:
            self._files.invalidate_cache()
            return float((self._files.modified(now) - self._files.modified(path)).total_seconds())
        except (NotImplementedError, FileNotFoundError):  # no times here, or given back just now: never called stale
            return None
        finally:
            self._remove(now)

    def _remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm_file(path)
        self._files.invalidate_cache()


def _is_refused_precondition(error: OSError) -> bool:
    """Whether an object store says that the object is there already, or is being made by another just now."""
    text = f"{error} {error.__cause__}"
    return any(code in text for code in ("PreconditionFailed", "ConditionalRequestConflict", "pre-condition"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _process_table() -> str:
    """Identity of the processes that can be seen from here: boot and namespace; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that cannot be looked at: another user's, where ``hidepid`` hides it in ``/proc``."""
    try:
        Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        try:
            os.kill(pid, 0)  # sends nothing
        except PermissionError:
            return True
        except (OSError, OverflowError):
            return False
    return False


def _process_started(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process; None when there is none, or it has ended."""
    try:
        # The second field, the program's name, is in parentheses and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
