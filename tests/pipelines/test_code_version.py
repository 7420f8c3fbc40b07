"""The revision that stores and runs carry."""

import subprocess
from pathlib import Path

from scale_video.pipelines.code_version import revision_of

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b.c")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *IDENTITY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_changed_checkout_is_dirty_whatever_lies_beside_its_files(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "a release")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert revision_of(tmp_path) == head
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "results.json").write_text("[]")
    assert revision_of(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert revision_of(tmp_path) == f"{head}-dirty"
    git(tmp_path, "add", "code.py")
    assert revision_of(tmp_path) == f"{head}-dirty"


def test_no_checkout_has_no_revision(tmp_path: Path) -> None:
    assert revision_of(tmp_path / "nowhere") == ""
