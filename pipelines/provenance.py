"""Which code ran, and on which features: versions of what decides numbers, the revision of a checkout, digests."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scale_video.store.union import ReadableStore

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


def training_identity(store: ReadableStore, *, views: Sequence[str], backbone: str) -> dict[str, str]:
    """``feature_identity`` of the view that an aggregator is trained on; of a second view its name and plan as well.

    Raises:
        MissingArrayError: the store has no such view or backbone.
        ValueError: the two views were seen by different weights.
    """
    first, *others = (feature_identity(store, view=view, backbone=backbone) for view in views)
    for other in others:
        if other["weights_digest"] != first["weights_digest"]:
            raise ValueError(
                f"the features of {backbone!r} in view {other['view']!r} come from other weights than those in view "
                f"{first['view']!r} (weights_digest: {other['weights_digest']!r} != {first['weights_digest']!r}); "
                "extract both views with the same weights, under a name of their own"
            )
        first |= {"second_view": other["view"], "second_plan_digest": other["plan_digest"]}
    return first


def trained_views(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The views that a checkpoint says it was trained on; empty where it names none."""
    return tuple(str(provenance[key]) for key in ("view", "second_view") if key in provenance)


def feature_identity(store: ReadableStore, *, view: str, backbone: str) -> dict[str, str]:
    """What tells features from others: which clips of which videos, seen by which weights.

    Returns:
        ``view``, ``plan_digest``, ``backbone`` and ``weights_digest``; the digests vouch for what the names promise.

    Raises:
        MissingArrayError: the store has no such view or backbone.
    """
    return {
        "view": view,
        "plan_digest": store.plan_digest(view),
        "backbone": backbone,
        "weights_digest": str(store.backbone_attributes(view, backbone)["weights_digest"]),
    }
