import errno
import os
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from scale_video.store.errors import StoreError, StoreNotFoundError
from scale_video.store.location import StoreLocation


def test_paths_and_file_urls_are_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = str(tmp_path / "a.zarr")
    for url in (tmp_path / "a.zarr", wanted, "a.zarr", "~/a.zarr", f"file://{wanted}", f"local://{wanted}"):
        location = StoreLocation.of(url)
        assert (location.url, location.root, location.is_local) == (wanted, wanted, True)


def test_other_urls_keep_their_file_system() -> None:
    location = StoreLocation.of("memory://folder/a.zarr/")
    assert (location.url, location.root, location.is_local) == ("memory://folder/a.zarr/", "/folder/a.zarr", False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/a.zarr", r"needs a package .* pip install 'scale-video\[s3\]'"),
        ("gs://a", r"not installed; install it"),
    ],
)
def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    def fail(url: str) -> None:
        raise ImportError("Install the client")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(StoreError, match=message):
        StoreLocation.of(url)


def test_a_protocol_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="nothing"):
        StoreLocation.of("nothing://a.zarr")


def test_what_is_no_group_has_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"there is no feature store at .*; `scale-video extract` makes one"):
        StoreLocation.of(tmp_path / "nothing").open_group("r")
    (tmp_path / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="holds no readable Zarr group"):
        StoreLocation.of(tmp_path).open_group("r")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"holds no readable Zarr group .*; choose another place"):
        StoreLocation.of(tmp_path).open_group("r")


@pytest.mark.parametrize("url", ["memory://entries", "{tmp_path}"])
def test_entries(url: str, tmp_path: Path) -> None:
    location = StoreLocation.of(url.format(tmp_path=tmp_path / "root"))
    assert location.entries() == ()
    location.file_system.makedirs(f"{location.root}/b")
    location.file_system.pipe(f"{location.root}/b/c", b"1")
    location.file_system.pipe(f"{location.root}/a", b"1")
    assert sorted(location.entries()) == ["a", "b"]
    location.remove()
    assert location.entries() == ()


def test_a_file_in_the_way_is_an_entry(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").write_text("")
    assert StoreLocation.of(tmp_path / "a.zarr").entries() == ("a.zarr",)


def test_the_root_is_removed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zarr.json", "a", "zzz"):
        (tmp_path / name).write_text("")
    location, removed = StoreLocation.of(tmp_path), []
    monkeypatch.setattr(location.file_system, "rm", lambda path, recursive: removed.append(Path(path).name))
    location.remove()
    assert set(removed[:2]) == {"a", "zzz"}
    assert removed[2] == "zarr.json"


class ListingCache(MemoryFileSystem):
    """Lists a folder once and remembers it, as clients of object stores do."""

    protocol = "cachedmemory"
    remembered: dict[str, object] = {}  # noqa: RUF012

    def find(self, path: str, **options: object) -> object:
        if path not in self.remembered:
            self.remembered[path] = super().find(path, **options)
        return self.remembered[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.remembered.clear()


@pytest.mark.parametrize("number", [2, 20])
def test_sizes_of_files_are_of_now(number: int) -> None:
    fsspec.register_implementation("cachedmemory", ListingCache, clobber=True)
    location = StoreLocation.of(f"cachedmemory://sizes{number}")
    names = ["array/c.0.0", "array/c.1.0"] * number
    location.file_system.pipe(f"{location.root}/array/c.0.0", b"123")
    assert location.file_sizes("array", names).tolist() == [3, 0] * number
    location.file_system.pipe(f"{location.root}/array/c.1.0", b"1")
    assert location.file_sizes("array", names).tolist() == [3, 1] * number


def test_ranges_of_many_files() -> None:
    location = StoreLocation.of("memory://ranges")
    for name, content in (("a", b"12345"), ("b", b"")):
        location.file_system.pipe(f"{location.root}/{name}", content)
    files = [f"{location.root}/{name}" for name in ("a", "c", "b")]
    assert location.read_ranges(files, limit=3) == [b"123", None, b""]


def test_errors_of_a_file_system_are_not_mistaken_for_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    location = StoreLocation.of("memory://ranges")

    def fail(path: str, *interval: object) -> bytes:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(location.file_system, "cat_file", fail)
    with pytest.raises(PermissionError, match="Forbidden"):
        location.read_ranges([f"{location.root}/a"], limit=3)


@pytest.mark.parametrize("url", ["memory://number", "{tmp_path}"])
def test_number_of_bytes(url: str, tmp_path: Path) -> None:
    location = StoreLocation.of(url.format(tmp_path=tmp_path))
    assert location.num_bytes("ids") == 0
    location.file_system.makedirs(f"{location.root}/ids", exist_ok=True)
    for name in ("a", "b"):
        location.file_system.pipe(f"{location.root}/ids/{name}", b"123")
    assert location.num_bytes("ids") == 6


def test_flush_reaches_files_and_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/x", "a/b/y", "z"):
        (tmp_path / name).write_text("")
    opened: dict[int, Path] = {}
    flushed: list[str] = []
    really_open = os.open

    def open_and_remember(path: Path, flags: int) -> int:
        descriptor = really_open(path, flags)
        opened[descriptor] = path
        return descriptor

    monkeypatch.setattr(os, "open", open_and_remember)
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(str(opened[number].relative_to(tmp_path.parent))))
    location, top = StoreLocation.of(tmp_path), tmp_path.name
    location.flush("a/x", "a/b/y")
    assert flushed == [f"{top}/a/x", f"{top}/a/b/y", f"{top}/a", f"{top}/a/b"]
    flushed.clear()
    location.flush_tree("a")
    assert flushed == [f"{top}/a/b/y", f"{top}/a/b", f"{top}/a/x", f"{top}/a", top]


def test_a_folder_that_cannot_be_flushed_is_no_fault_but_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("")

    def fsync(descriptor: int) -> None:
        if os.path.isdir(descriptor):  # noqa: PTH112
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    StoreLocation.of(tmp_path).flush("x")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        StoreLocation.of(tmp_path).flush("x")


def test_partial_files_are_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.partial").mkdir()
    for name in ("zarr.12.partial", "a.partial/c.0.12.partial", "a.partial/c.0.0"):
        (tmp_path / name).write_text("")
    assert StoreLocation.of(tmp_path).remove_partial_files() == 2
    assert (tmp_path / "a.partial/c.0.0").exists()
    assert StoreLocation.of(tmp_path).remove_partial_files() == 0
    assert StoreLocation.of("memory://nowhere").remove_partial_files() == 0
