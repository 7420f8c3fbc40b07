"""Which code ran, and on which features: versions of what decides numbers, the revision of a checkout, digests."""

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scale_video.pipelines.console import note
from scale_video.pipelines.preset import Preset
from scale_video.store.canonical_json import canonical_json
from scale_video.store.union import EQUAL_ATTRIBUTES, ReadableStore

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
        check_alike(first, other)
        first |= {"second_view": other["view"], "second_plan_digest": other["plan_digest"]}
    return first


def check_alike(one: Mapping[str, str], other: Mapping[str, str]) -> None:
    """Compare the identities of features that are to be used together.

    Raises:
        ValueError: they come from other weights, or went through these in another way.
    """
    for key, what in (("weights_digest", "weights"), ("forward_digest", "preprocessing, layer, frames or precision")):
        if other[key] != one[key]:
            raise ValueError(
                f"the features of {one['backbone']!r} in view {other['view']!r} come from other {what} than those in "
                f"view {one['view']!r} ({key}: {other[key]!r} != {one[key]!r}); extract both views alike, under a name "
                "of their own"
            )


def trained_views(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The views that a checkpoint says it was trained on; empty where it names none."""
    return tuple(str(provenance[key]) for key in ("view", "second_view") if key in provenance)


def feature_identity(store: ReadableStore, *, view: str, backbone: str) -> dict[str, str]:
    """What tells features from others: which clips of which videos, seen by which weights in which way.

    Returns:
        ``view``, ``plan_digest``, ``backbone``, ``weights_digest`` and ``forward_digest``; the digests vouch for what
        the names promise.

    Raises:
        MissingArrayError: the store has no such view or backbone.
    """
    attributes = store.backbone_attributes(view, backbone)
    return {
        "view": view,
        "plan_digest": store.plan_digest(view),
        "backbone": backbone,
        "weights_digest": str(attributes["weights_digest"]),
        "forward_digest": forward_digest(attributes),
    }


def forward_digest(attributes: Mapping[str, Any]) -> str:
    """Digest of what features depend on besides pixels and weights: preprocessing, layer, frames, size, precision.

    Args:
        attributes: Of a backbone's group in a store.
    """
    of_features = {name: attributes[name] for name in EQUAL_ATTRIBUTES if name in attributes}
    return hashlib.blake2b(
        canonical_json(of_features, what="attributes of features").encode(), digest_size=8
    ).hexdigest()


def warn_of_normalisation(preset: Preset, attributes: Mapping[str, Any]) -> None:
    """Say so where features were not extracted with the colours that the preset is about."""
    found = attributes.get("preprocessing", {}).get("normalisation")
    if preset.normalisation == "paper" and found not in (None, "paper"):
        note(
            f"warning: preset {preset.name!r} normalises colours as published, and these features were extracted with "
            f"others ({found}); extract with this preset, under another backbone @name, for features of its own"
        )
