"""A wheel built from the checkout installs and runs where only its dependencies are."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy of what git tracks: a build leaves files in the tree it builds from.
    tree = folder / "tree"
    tree.mkdir()
    tracked = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        source, target = REPOSITORY / name, tree / name
        if source.is_file() and not name.startswith((".typings", "tests")):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, tree]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that sees our dependencies and the wheel, but not the checkout."""
    environment = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    executable = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", executable, "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, capture_output=True)
    # A plain line in a .pth file adds a folder without reading the .pth files in it, ours among them.
    packages = next((environment / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return executable


def test_every_module_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    suffixes = {".py", ".toml", ".safetensors", ".html", ".css", ".js", ".svg"}
    found = set()
    for folder in ("store", "extract", "aggregate", "evaluate", "pipelines"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in suffixes or path.name == "FORMAT.md":
                assert f"scale_video/{path.relative_to(REPOSITORY)}" in names
                found.add(path.suffix)
    assert found == suffixes | {".md"}
    assert "scale_video/__init__.py" not in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_runs(python: Path, tmp_path: Path) -> None:
    script = "import scale_video.store.read as m, pathlib; print(pathlib.Path(m.__file__).resolve())"
    where = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert str(REPOSITORY) not in where
    command = python.parent / "scale-video"
    for arguments in (
        ("--version",),
        ("demo", "--videos", "24", "24", "--workers", "1", "--set", "pretrain.epochs=1"),
        ("verify", "features/demo.zarr"),
    ):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "demo" / "results.json").is_file()
    assert "sound" in done.stdout
