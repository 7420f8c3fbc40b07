"""Which code runs: versions of what decides numbers, and the revision of a checkout."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("scale-video", "torch", "av", "zarr", "numpy", "dask", "pytorch-lightning", "scikit-learn", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Revision of the checkout this code runs from; empty when it runs from an installed wheel."""
    root = Path(__file__).resolve().parents[1]
    return revision_of(root) if (root / "setup.cfg").is_file() else ""


def revision_of(checkout: Path) -> str:
    """Commit of a checkout, with ``-dirty`` behind it where a tracked file differs; empty where git cannot tell.

    Files that git does not track don't count: what runs write lies among them.
    """
    # Without the lock, since git would refresh its index in passing, and other git commands may be at work.
    command = ["git", "--no-optional-locks", "-C", str(checkout)]
    command += ["describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
