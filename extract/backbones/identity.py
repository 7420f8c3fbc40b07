"""Whether a backbone that was loaded is the one whose features a store holds."""

from collections.abc import Mapping
from typing import Any

from scale_video.extract.backbones.protocol import BackboneSpec


def differences(spec: BackboneSpec, attributes: Mapping[str, Any]) -> list[str]:
    """Name what differs, of all that is recorded and that features depend on, but for the precision.

    Args:
        spec: of the backbone that was loaded.
        attributes: of the features' group in a store.
    """
    ours = {
        "weights_digest": spec.weights_digest,
        "layer": spec.layer,
        "preprocessing": dict(spec.preprocessing),
        "num_frames": spec.num_frames,
        "feature_dim": spec.feature_dim,
    }
    return [key for key, value in ours.items() if key in attributes and attributes[key] != value]
