"""Small stores, and a Python that does not know this package."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def small(module_at: Callable[[str], ModuleType]) -> ModuleType:
    """The module ``small_store`` beside this file."""
    return module_at("store/small_store.py")


@pytest.fixture(scope="session")
def templates(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores to be copied, never changed: to copy one takes a hundredth of the time of making it."""
    folder = tmp_path_factory.mktemp("templates")
    small.make_empty_store(folder / "empty.zarr")
    small.make_full_store(folder / "full.zarr")
    small.make_full_store(folder / "rich.zarr", videos=small.make_rich_videos())
    return folder


@pytest.fixture
def empty_store(templates: Path, tmp_path: Path) -> Path:
    """A store without a block."""
    return shutil.copytree(templates / "empty.zarr", tmp_path / "demo.zarr")


@pytest.fixture
def full_store(templates: Path, tmp_path: Path) -> Path:
    """The same store with all its blocks."""
    return shutil.copytree(templates / "full.zarr", tmp_path / "demo.zarr")


@pytest.fixture
def rich_store(templates: Path, tmp_path: Path) -> Path:
    """A full store of parts of files, with label sets and targets."""
    return shutil.copytree(templates / "rich.zarr", tmp_path / "rich.zarr")


@pytest.fixture(scope="session")
def foreign_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a program where every package is installed but ours; its output."""
    packages = tmp_path_factory.mktemp("packages")
    for folder in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))):
        for entry in Path(folder).iterdir():
            ours = entry.name.lower().startswith(("scale_video", "scale-video", "__editable__"))
            if not ours and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)

    def run(program: str, *, cwd: Path) -> str:
        # -I: neither the working folder nor PYTHONPATH; -S: no site-packages, and none of the .pth files in it.
        prelude = f"import sys; sys.path.append({str(packages)!r})\n"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "error", "-c", prelude + program],
            cwd=cwd,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
