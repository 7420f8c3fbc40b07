"""Which features were used, and by which aggregator: identities and digests, compared before anything is mixed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scale_video.aggregate.checkpoint import CheckpointError, LoadedAggregator
from scale_video.extract.backbones.weights_digest import weights_digest
from scale_video.pipelines.console import note
from scale_video.pipelines.preset import Preset
from scale_video.store.canonical_json import canonical_json
from scale_video.store.read import FeatureStore
from scale_video.store.union import EQUAL_ATTRIBUTES, ReadableStore


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


def check_transfer(path: Path, provenance: Mapping[str, Any], ours: Mapping[str, str]) -> None:
    """Check that an aggregator reads features like these, be they of its own store or of another.

    Args:
        path: Of the checkpoint, for the message.
        provenance: Of the checkpoint; an old one does not say ``forward_digest``.
        ours: ``feature_identity`` of the features at hand.

    Raises:
        CheckpointError: it was trained on features of other weights, or of another use of them.
    """
    for key, what in (("weights_digest", "weights"), ("forward_digest", "preprocessing, layer or frames")):
        theirs = provenance.get(key, ours[key] if key == "forward_digest" else None)
        if theirs != ours[key]:
            raise CheckpointError(
                f"checkpoint '{path}' reads features of other {what} than these ({key}: {theirs!r} != {ours[key]!r}); "
                "a transfer needs features of the same backbone on both stores"
            )


def features_digest(store: ReadableStore, *, view: str, backbone: str) -> str:
    """Digest of all features of a backbone in a view, by the commit marks of their blocks: of every byte of them.

    Raises:
        MissingArrayError: the store has no such view or backbone.
    """
    digest = hashlib.blake2b(digest_size=16)
    for one in (store,) if isinstance(store, FeatureStore) else store.stores:
        digest.update(one.marks(view, backbone).astype("<u8").tobytes())
    return digest.hexdigest()


def aggregator_digest(loaded: LoadedAggregator) -> str:
    """Digest of an aggregator's weights, the same for a checkpoint and its export."""
    return weights_digest(loaded.model.state_dict())


def trained_views(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """The views that a checkpoint says it was trained on; empty where it names none."""
    return tuple(str(provenance[key]) for key in ("view", "second_view") if key in provenance)


def feature_identity(store: ReadableStore, *, view: str, backbone: str) -> dict[str, str]:
    """What tells features from others: which clips of which videos, seen by which weights in which way.

    Returns:
        ``view``, ``plan_digest``, ``backbone``, ``weights_digest``, ``forward_digest`` and ``frame_size``; the digests
        vouch for what the names promise.

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
        "frame_size": str(attributes.get("frame_size", "unknown")),
    }


def forward_digest(attributes: Mapping[str, Any]) -> str:
    """Digest of what features depend on besides pixels and weights: preprocessing, layer, frames, precision.

    Not the pixels of a frame: these are the view's, where a backbone takes any number. SCALE pre-trains on crops of 224
    and evaluates on 256.

    Args:
        attributes: Of a backbone's group in a store.
    """
    names = [name for name in EQUAL_ATTRIBUTES if name in attributes and name != "frame_size"]
    return _short_digest({name: attributes[name] for name in names})


def digest_of_sides(train: Mapping[str, str], test: Mapping[str, str]) -> str:
    """Digest of how the features of both sides of a probe were made of the pixels, the sizes of frames included.

    Args:
        train: ``feature_identity`` of one.
        test: That of the other.
    """
    sizes = {"train": train["frame_size"], "test": test["frame_size"]}
    return _short_digest({"forward_digest": train["forward_digest"], **sizes})


def _short_digest(values: Mapping[str, Any]) -> str:
    return hashlib.blake2b(canonical_json(values, what="attributes of features").encode(), digest_size=8).hexdigest()


def warn_of_normalisation(preset: Preset, attributes: Mapping[str, Any]) -> None:
    """Say so where features were not extracted with the colours that the preset is about."""
    found = attributes.get("preprocessing", {}).get("normalisation")
    if preset.normalisation == "paper" and found not in (None, "paper"):
        note(
            f"warning: preset {preset.name!r} normalises colours as published, and these features were extracted with "
            f"others ({found}); extract with this preset, under another backbone @name, for features of its own"
        )
